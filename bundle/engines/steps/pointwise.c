/* The pointwise work of one training step of a SIREN, fused, for a CPU: what lies between matrix products.

   Compiled twice: STORE is float, or unsigned short holding bfloat16 (upper half of a float). Arrays are row
   major; `rows` places, `width` units. A unit (row r, column h) is kept by dropout when bit (r % 32) of
   keep[r / 32][h] is set; keep == NULL keeps all. Results depend on nothing but the arguments. */

#include <stdint.h>
#include <stddef.h>
#include <string.h>
#include <math.h>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#define WIDEST 4096

static inline float as_float(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline uint32_t as_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }

#ifdef BFLOAT16
typedef uint16_t store;
static inline float get(store v) { return as_float((uint32_t)v << 16); }
static inline store put(float f) {  /* to nearest, ties to even */
    uint32_t u = as_bits(f);
    return (store)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
#define NAME(f) f##_bf16
#define ROW(buffer, out) (buffer)
/* A row of floats, rounded to what is stored: by the processor's own instruction where it has one. */
static inline void put_row(long width, const float *restrict row, store *restrict out) {
    long h = 0;
#ifdef __AVX512BF16__
    for (; h + 16 <= width; h += 16)
        _mm256_storeu_si256((__m256i *)(out + h), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(row + h)));
#endif
    for (; h < width; h++) out[h] = put(row[h]);
}
#else
typedef float store;
static inline float get(store v) { return v; }
static inline store put(float f) { return f; }
#define NAME(f) f##_fp32
#define ROW(buffer, out) (out)  /* written where it is to stay */
#define put_row(width, row, out) ((void)0)
#endif

/* Sine and cosine together (the polynomials of Cephes' sinf and cosf): within 2e-7 for |a| < 1e4. */
static inline void sincos_(float a, float *sine, float *cosine) {
    float shifted = a * 0.63661977236758134f + 12582912.0f; /* adding 1.5 * 2^23 rounds to an integer */
    uint32_t quadrant = as_bits(shifted);
    float k = shifted - 12582912.0f;
    float r = a - k * 1.5703125f;
    r = r - k * 4.837512969970703125e-4f;
    r = r - k * 7.54978995489188216e-8f;
    float z = r * r;
    float s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
    float c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
    float first = quadrant & 1u ? c : s, second = quadrant & 1u ? s : c;
    *sine = as_float(as_bits(first) ^ ((quadrant << 30) & 0x80000000u));
    *cosine = as_float(as_bits(second) ^ (((quadrant + 1u) << 30) & 0x80000000u));
}

/* The sine alone, where no cosine is wanted: one polynomial (SLEEF's sinf_u35); within 3e-7 for |a| < 1e4. */
static inline float sine_(float a) {
    float shifted = a * 0.31830988618379067f + 12582912.0f;
    float k = shifted - 12582912.0f;
    float r = a - k * 3.140625f;
    r = r - k * 9.67502593994140625e-4f;
    r = r - k * 1.50995799097837643e-7f;
    float z = r * r;
    float p = ((2.6083159809786593541503e-06f * z - 1.981069071916863322258e-04f) * z + 8.33307858556509017944336e-03f) * z
              - 1.66666597127914428710938e-01f;
    return as_float(as_bits(p * z * r + r) ^ (as_bits(shifted) << 31));
}

/* First layer: sine and cosine of omega * (x W^T + b). x (rows, 3), w (width, 3), b (width). */
void NAME(first)(long rows, long width, float omega, const float *x, const float *w, const float *b,
                 store *restrict sine, store *restrict cosine) {
    float wx[WIDEST], wy[WIDEST], wz[WIDEST], bias[WIDEST];
    for (long h = 0; h < width; h++) {
        wx[h] = omega * w[3 * h]; wy[h] = omega * w[3 * h + 1]; wz[h] = omega * w[3 * h + 2];
        bias[h] = omega * b[h];
    }
    float buffer[2][WIDEST];
    for (long r = 0; r < rows; r++) {
        float px = x[3 * r], py = x[3 * r + 1], pz = x[3 * r + 2];
        float *s = ROW(buffer[0], sine + r * width), *c = ROW(buffer[1], cosine + r * width);
        for (long h = 0; h < width; h++)
            sincos_(bias[h] + px * wx[h] + py * wy[h] + pz * wz[h], &s[h], &c[h]);
        put_row(width, s, sine + r * width);
        put_row(width, c, cosine + r * width);
    }
}

/* Hidden layer: kept sine and cosine of a + omega * b; the sine takes the place of a. */
void NAME(hidden)(long rows, long width, float omega, const float *b, const uint32_t *keep,
                  store *restrict a, store *restrict cosine) {
    float bias[WIDEST];
    for (long h = 0; h < width; h++) bias[h] = omega * b[h];
    float buffer[2][WIDEST];
    for (long r = 0; r < rows; r++) {
        store *ar = a + r * width, *cr = cosine + r * width;
        float *sr = ROW(buffer[0], ar), *er = ROW(buffer[1], cr);
        if (keep) {
            const uint32_t *bits = keep + (r / 32) * width;
            const uint32_t bit = 1u << r % 32;
            for (long h = 0; h < width; h++) {
                float s, c;
                sincos_(get(ar[h]) + bias[h], &s, &c);
                sr[h] = bits[h] & bit ? s : 0.0f;
                er[h] = bits[h] & bit ? c : 0.0f;
            }
        } else {
            for (long h = 0; h < width; h++) {
                float s, c;
                sincos_(get(ar[h]) + bias[h], &s, &c);
                sr[h] = s;
                er[h] = c;
            }
        }
        put_row(width, sr, ar);
        put_row(width, er, cr);
    }
}

/* Linear head, weighted squared error and its gradient. w (width) and scale: prediction = scale * sine w + b.
   Gives the error; grad_w (width) and grad_b (1) of the head; grad (rows, width) before the last hidden
   layer's cosine is dropped, grad_bias (width) its sum times omega. */
float NAME(head)(long rows, long width, float omega, float scale, const float *w, const float *b,
                 const store *sine, const store *cosine, const float *truth, const float *weight,
                 store *restrict grad, float *restrict grad_w, float *restrict grad_b, float *restrict grad_bias) {
    float folded[WIDEST], sum_w[WIDEST], sum_bias[WIDEST], sum_b = 0.0f, error = 0.0f;
    for (long h = 0; h < width; h++) { folded[h] = scale * w[h]; sum_w[h] = sum_bias[h] = 0.0f; }
    for (long r = 0; r < rows; r++) {
        const store *sr = sine + r * width, *cr = cosine + r * width;
        float lanes[16] = {0}, y = *b;
        long h = 0;
        for (; h + 16 <= width; h += 16)
            for (int i = 0; i < 16; i++) lanes[i] += get(sr[h + i]) * folded[h + i];
        for (; h < width; h++) y += get(sr[h]) * folded[h];
        for (int i = 0; i < 16; i++) y += lanes[i];
        float e = y - truth[r], g = 2.0f * weight[r] * e;
        error += weight[r] * e * e;
        sum_b += g;
        for (h = 0; h < width; h++) {
            float d = g * folded[h] * get(cr[h]);
            sum_w[h] += g * get(sr[h]);
            sum_bias[h] += d;
            grad[r * width + h] = put(d);
        }
    }
    for (long h = 0; h < width; h++) { grad_w[h] = scale * sum_w[h]; grad_bias[h] = omega * sum_bias[h]; }
    *grad_b = sum_b;
    return error;
}

/* Back through a hidden layer's sine: grad *= cosine, in place; grad_bias (width) = omega * its sum. */
void NAME(back)(long rows, long width, float omega, const store *restrict cosine, store *restrict grad,
                float *restrict grad_bias) {
    float sum[WIDEST];
    for (long h = 0; h < width; h++) sum[h] = 0.0f;
    long r = 0;
    for (; r + 4 <= rows; r += 4) { /* four rows at once: the sums are read and written a quarter as often */
        const store *c = cosine + r * width;
        store *g = grad + r * width;
        for (long h = 0; h < width; h++) {
            float d0 = get(g[h]) * get(c[h]), d1 = get(g[width + h]) * get(c[width + h]);
            float d2 = get(g[2 * width + h]) * get(c[2 * width + h]), d3 = get(g[3 * width + h]) * get(c[3 * width + h]);
            sum[h] += (d0 + d1) + (d2 + d3);
            g[h] = put(d0); g[width + h] = put(d1); g[2 * width + h] = put(d2); g[3 * width + h] = put(d3);
        }
    }
    for (; r < rows; r++)
        for (long h = 0; h < width; h++) {
            float d = get(grad[r * width + h]) * get(cosine[r * width + h]);
            sum[h] += d;
            grad[r * width + h] = put(d);
        }
    for (long h = 0; h < width; h++) grad_bias[h] = omega * sum[h];
}

/* Back through the first layer: grad_w (width, 3) and grad_bias (width). */
void NAME(back_first)(long rows, long width, float omega, const float *restrict x, const store *restrict cosine,
                      const store *restrict grad, float *restrict grad_w, float *restrict grad_bias) {
    float sum[WIDEST], sx[WIDEST], sy[WIDEST], sz[WIDEST];
    for (long h = 0; h < width; h++) sum[h] = sx[h] = sy[h] = sz[h] = 0.0f;
    long r = 0;
    for (; r + 4 <= rows; r += 4) {
        const store *c = cosine + r * width, *g = grad + r * width;
        const float *p = x + 3 * r;
        for (long h = 0; h < width; h++) {
            float d0 = get(g[h]) * get(c[h]), d1 = get(g[width + h]) * get(c[width + h]);
            float d2 = get(g[2 * width + h]) * get(c[2 * width + h]), d3 = get(g[3 * width + h]) * get(c[3 * width + h]);
            sum[h] += (d0 + d1) + (d2 + d3);
            sx[h] += (d0 * p[0] + d1 * p[3]) + (d2 * p[6] + d3 * p[9]);
            sy[h] += (d0 * p[1] + d1 * p[4]) + (d2 * p[7] + d3 * p[10]);
            sz[h] += (d0 * p[2] + d1 * p[5]) + (d2 * p[8] + d3 * p[11]);
        }
    }
    for (; r < rows; r++)
        for (long h = 0; h < width; h++) {
            float d = get(grad[r * width + h]) * get(cosine[r * width + h]);
            sum[h] += d; sx[h] += d * x[3 * r]; sy[h] += d * x[3 * r + 1]; sz[h] += d * x[3 * r + 2];
        }
    for (long h = 0; h < width; h++) {
        grad_bias[h] = omega * sum[h];
        grad_w[3 * h] = omega * sx[h]; grad_w[3 * h + 1] = omega * sy[h]; grad_w[3 * h + 2] = omega * sz[h];
    }
}

/* The forward pass alone: no cosine, no dropout, the same sines. */
void NAME(first_sine)(long rows, long width, float omega, const float *x, const float *w, const float *b,
                      store *restrict sine) {
    float wx[WIDEST], wy[WIDEST], wz[WIDEST], bias[WIDEST], buffer[WIDEST];
    for (long h = 0; h < width; h++) {
        wx[h] = omega * w[3 * h]; wy[h] = omega * w[3 * h + 1]; wz[h] = omega * w[3 * h + 2];
        bias[h] = omega * b[h];
    }
    for (long r = 0; r < rows; r++) {
        float px = x[3 * r], py = x[3 * r + 1], pz = x[3 * r + 2], *s = ROW(buffer, sine + r * width);
        for (long h = 0; h < width; h++) s[h] = sine_(bias[h] + px * wx[h] + py * wy[h] + pz * wz[h]);
        put_row(width, s, sine + r * width);
    }
}
void NAME(hidden_sine)(long rows, long width, float omega, const float *b, store *restrict a) {
    float bias[WIDEST], buffer[WIDEST];
    for (long h = 0; h < width; h++) bias[h] = omega * b[h];
    for (long r = 0; r < rows; r++) {
        float *s = ROW(buffer, a + r * width);
        for (long h = 0; h < width; h++) s[h] = sine_(get(a[r * width + h]) + bias[h]);
        put_row(width, s, a + r * width);
    }
}
void NAME(dot)(long rows, long width, const float *w, const float *b, const store *restrict sine, float *restrict out) {
    for (long r = 0; r < rows; r++) {
        const store *sr = sine + r * width;
        float lanes[16] = {0}, y = *b;
        long h = 0;
        for (; h + 16 <= width; h += 16)
            for (int i = 0; i < 16; i++) lanes[i] += get(sr[h + i]) * w[h + i];
        for (; h < width; h++) y += get(sr[h]) * w[h];
        for (int i = 0; i < 16; i++) y += lanes[i];
        out[r] = y;
    }
}

/* out = factor * in, from fp32 to the stored type (weights) and back (their gradients). */
void NAME(fold)(long n, float factor, const float *in, store *restrict out) {
    for (long i = 0; i < n; i++) out[i] = put(factor * in[i]);
}
void NAME(unfold)(long n, float factor, const store *in, float *restrict out) {
    for (long i = 0; i < n; i++) out[i] = factor * get(in[i]);
}

#ifndef BFLOAT16
/* Clip the gradient to a norm (0: not) and take one step of Adam; correct1 and correct2 are 1 - beta^t. */
void adam(long n, float rate, float beta1, float beta2, float epsilon, float correct1, float correct2, float clip,
          const float *g, float *restrict p, float *restrict m, float *restrict v) {
    double lanes[16] = {0}, square = 0.0;
    long i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) lanes[j] += (double)g[i + j] * g[i + j];
    for (; i < n; i++) square += (double)g[i] * g[i];
    for (int j = 0; j < 16; j++) square += lanes[j];
    float factor = clip > 0.0f ? clip / ((float)sqrt(square) + 1e-6f) : 1.0f;
    if (factor > 1.0f) factor = 1.0f;
    float step = rate / correct1, root = 1.0f / sqrtf(correct2);
    for (i = 0; i < n; i++) {
        float d = factor * g[i];
        m[i] += (1.0f - beta1) * (d - m[i]);
        v[i] = beta2 * v[i] + (1.0f - beta2) * d * d;
        p[i] -= step * m[i] / (sqrtf(v[i]) * root + epsilon);
    }
}

/* n numbers of SplitMix64 of a key from a counter on (Steele, Lea and Flood 2014). */
void splitmix(long n, uint64_t key, uint64_t counter, uint64_t *restrict out) {
    for (long i = 0; i < n; i++) {
        uint64_t z = key + (counter + (uint64_t)i + 1u) * 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        out[i] = z ^ (z >> 31);
    }
}
#endif

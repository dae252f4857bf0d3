"use strict";
// One slider a nodule moves all of its films; without this script they are strips that scroll.
document.documentElement.classList.add("script");
for (const viewer of document.querySelectorAll(".viewer")) {
  const { count, start, step, first, observed } = viewer.dataset;
  const seen = observed ? observed.split(",").map(Number) : [];
  const slider = viewer.querySelector(".slider");
  const where = viewer.querySelector(".where");
  const show = (k) => {
    viewer.style.setProperty("--k", k);
    const away = seen.length ? Math.min(...seen.map((s) => Math.abs(s - k))) : 0;
    const beyond = seen.length && (k < seen[0] || k > seen[seen.length - 1]);
    let state = "";
    if (seen.length) {
      state = away === 0 ? ", observed" : `, ${(away * step).toFixed(2)} mm from an observed one`;
      if (beyond) state = `, ${(away * step).toFixed(2)} mm beyond the last observed one`;
    }
    const number = k + Number(first);
    where.textContent = `${number} (${k + 1} of ${count}), z = ${(number * step).toFixed(1)} mm${state}`;
    where.classList.toggle("observed", seen.length > 0 && away === 0);
    slider.setAttribute("aria-valuetext", where.textContent);
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  slider.value = start;
  show(Number(start));
  viewer.querySelector(".outlines").addEventListener("change", (event) => {
    viewer.classList.toggle("plain", !event.target.checked);
  });
  viewer.querySelector(".difference").addEventListener("change", (event) => {
    const minus = event.target.checked;
    const truth = viewer.querySelector(".stack img");
    for (const stack of viewer.querySelectorAll(".stack[data-density]")) {
      stack.querySelector(".truth")?.remove();
      if (minus) {
        const copy = stack.appendChild(truth.cloneNode());
        copy.className = "truth";
        copy.alt = "";
      }
    }
    viewer.classList.toggle("minus", minus);
  });
  for (const frame of viewer.querySelectorAll(".frame")) {
    frame.removeAttribute("tabindex");
  }
}

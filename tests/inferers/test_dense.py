"""A dense volume of a thick one: what is in it, on all HU, tile by tile, observed slices unchanged."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.interpolate import CubicSpline, PchipInterpolator

from bundle.data.notes import notes_of
from bundle.engines import FitOptions
from bundle.errors import InputError
from bundle.inferers import (
    CubicInferer,
    DenseInferer,
    ImplicitInferer,
    KrigingInferer,
    LinearInferer,
    NearestInferer,
    ObservedSlices,
    PchipInferer,
    SignedDistanceInferer,
    signed_distance,
)
from bundle.inferers.dense.seams import Evened
from bundle.networks import Siren
from bundle.profile import block_average


def thick_volume(shape=(10, 8, 6), spacing=(0.7, 0.7, 2.5), seed=0, positions=None, channels=1, scale=300.0):
    """A batch of one volume of noise in HU, that goes outside of the window."""
    rng = np.random.default_rng(seed)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = 12, -7, 30
    data = torch.from_numpy(np.rint(rng.normal(-400, scale, (1, channels, *shape))).astype(np.float32))
    meta = {} if positions is None else {"slice_positions": np.asarray(positions, dtype=float)}
    return MetaTensor(data, affine=torch.from_numpy(affine), meta=meta)


def dense(volume, method, **options):
    return DenseInferer({"method": method}, "method", progress=False, **options)(volume)


@pytest.mark.parametrize(
    ("spacing", "step", "thickness", "words"),
    [
        ((0.7, 0.7, 2.5), 0.7, 2.5, []),
        ((0.7, 0.7, 1.0), 0.7, None, []),
        ((0.7, 0.7, 2.5), 0.7, None, ["not known: taken as planes"]),
        ((0.7, 0.7, 2.5), 2.6, 0.0, ["farther than those of the scan (2.5 mm): the result is coarser"]),
        ((0.7, 2.5, 0.7), 0.7, 0.0, ["seem not to be axial"]),
        ((0.7, 0.7, 2.5), 0.7, 10.0, ["10 mm thick and 2.5 mm apart", "values of up to"]),
    ],
)
def test_what_is_odd_about_the_slices_is_a_note_of_the_result(spacing, step, thickness, words):
    made = dense(thick_volume((4, 4, 6), spacing), LinearInferer(), slice_spacing=step, thickness_mm=thickness)
    notes = notes_of(made)
    assert len(notes) == len(words)
    for note, word in zip(notes, words, strict=True):
        assert word in note


def test_uneven_positions_are_honoured():
    positions = [0, 1.5, 2.5, 7, 8, 12]
    volume = thick_volume(spacing=(1, 1, 2.4), positions=positions)
    found = dense(volume, CubicInferer(clip=False), slice_spacing=0.75)
    places = np.arange(17) * 0.75
    hu = volume[0, 0].numpy()
    assert hu.max() > 400
    expected = CubicSpline(positions, hu, axis=2)(places)
    expected[..., [0, 2, 16]] = volume[0, 0].numpy()[..., [0, 1, 5]]
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=0.01)
    np.testing.assert_allclose(found.meta["slice_positions"], places)
    # new slices are even, so the affine says it all
    np.testing.assert_allclose(found.affine[:3, 2], [0, 0, 0.75])


def test_observed_slices_come_back_to_the_last_hu_also_outside_of_the_window():
    volume = thick_volume()
    assert volume.min() < -1000
    assert volume.max() > 400
    found = dense(volume, LinearInferer(), slice_spacing=0.5)
    assert torch.equal(found[..., ::5].as_tensor(), volume.as_tensor())
    hu = volume[0, 0].numpy()
    for k in range(5):
        between = 0.6 * hu[..., k] + 0.4 * hu[..., k + 1]
        np.testing.assert_allclose(found[0, 0, ..., 5 * k + 2].numpy(), between, atol=1e-3)
    # a voxel of the dense volume lies where its slice's place says
    np.testing.assert_allclose(found.affine @ np.array([3, 4, 15, 1.0]), volume.affine @ np.array([3, 4, 3, 1.0]))


def test_observed_slices_are_not_kept_where_they_are_not_wanted():
    volume = thick_volume()
    found = dense(volume, NearestInferer(), slice_spacing=0.5, keep_observed=False)
    np.testing.assert_allclose(found[0, 0, ..., ::5], volume[0, 0], atol=1e-3)


@pytest.mark.parametrize("profile", ["box", "bell"])
@pytest.mark.parametrize("method", [PchipInferer(), KrigingInferer()])
def test_the_averages_of_the_result_are_the_thick_slices(method, profile):
    volume = thick_volume((9, 8, 6), scale=300)
    how = {"slice_profile": profile, "keep_observed": False, "thickness_mm": 2.5}
    found = dense(volume, method, slice_spacing=0.5, **how)
    # the first and last slice reach beyond the result
    places = np.arange(found.shape[-1]) * 0.5
    averages = block_average(found[0, 0].numpy(), places, np.arange(1, 5) * 2.5, 2.5, profile)
    assert volume[0, 0].max() > 400
    np.testing.assert_allclose(averages, volume[0, 0, ..., 1:5], atol=2)


class LooksAround(LinearInferer):
    """A method whose tiles are blended."""

    in_plane = True


@pytest.mark.parametrize(
    ("method", "thickness", "keep", "evened"),
    [
        (LooksAround(), 0.0, True, False),
        (LooksAround(), 0.0, False, False),
        (LooksAround(), 2.5, True, True),
        (LinearInferer(), 2.5, True, False),
        (LinearInferer(), 2.5, False, True),
    ],
)
def test_seams_of_thick_slices_are_evened_where_the_whole_is_at_hand(method, thickness, keep, evened, monkeypatch):
    places = []
    came_to = Evened(1.4, 1.1, 2.0)
    monkeypatch.setattr("bundle.inferers.dense.inferer.even_bends", lambda _, where: places.append(where) or came_to)
    made = dense(thick_volume(), method, slice_spacing=0.5, keep_observed=keep, thickness_mm=thickness)
    assert (came_to.note in made.meta["notes"]) == evened
    assert [where.thickness_mm for where in places] == [thickness] * evened


def test_default_spacing_is_the_pixels():
    found = dense(thick_volume(), LinearInferer())
    assert found.shape[-1] == int(12.5 / 0.7) + 1
    assert found.affine[2, 2] == pytest.approx(0.7)


@pytest.mark.parametrize("tile", [3, 4, 7])
def test_tiles_change_nothing_for_interpolations(tile):
    volume = thick_volume()
    whole, tiled = (dense(volume, CubicInferer(), tile=t).as_tensor() for t in (128, tile))
    torch.testing.assert_close(whole, tiled, atol=1e-3, rtol=0)


def test_fitted_tiles_are_blended_and_seeded():
    volume = thick_volume((20, 9, 3), scale=50)
    siren = ImplicitInferer(lambda: Siren(hidden_features=16, hidden_layers=1), FitOptions(epochs=2), device="cpu")
    seen = []
    inferer = DenseInferer({"siren": siren}, "siren", tile=12, overlap=4, progress=False)
    inferer.on_progress = lambda done, total, words: seen.append(done / total)
    first, again = inferer(volume).as_tensor(), inferer(volume).as_tensor()
    assert torch.equal(first, again)
    assert seen[: len(seen) // 2] == sorted(seen[: len(seen) // 2])
    assert seen[-1] == 1
    inferer.seed = 1
    assert not torch.equal(first, inferer(volume).as_tensor())
    # outside of the overlap a tile is what a volume of its own size gives
    alone = DenseInferer({"siren": siren}, "siren", progress=False)(
        MetaTensor(volume.as_tensor()[:, :, :12], affine=volume.affine)
    )
    torch.testing.assert_close(first[:, :, :8], alone.as_tensor()[:, :, :8], atol=1e-3, rtol=0)


def test_it_gives_what_the_method_itself_gives():
    volume = thick_volume((9, 7, 5), scale=80)
    siren = ImplicitInferer(lambda: Siren(hidden_features=16, hidden_layers=1), FitOptions(epochs=2), device="cpu")
    hu = volume[0, 0].numpy().astype(np.float64)
    unit = (np.clip(hu, -1000, 400) + 1000) / 1400
    observed = ObservedSlices(unit, None, np.arange(5) * 2.5, np.arange(11) * 1.0, (0.7, 0.7), seed=3)
    expected = siren.reconstruct(observed).image * 1400 - 1000
    found = dense(volume, siren, slice_spacing=1.0, seed=3)[0, 0].numpy()
    np.testing.assert_allclose(found[..., 1:5], expected[..., 1:5], atol=1e-3)


def test_a_fit_can_start_from_the_network_it_is_called_with():
    volume = thick_volume((9, 7, 5), scale=80)
    network = Siren(hidden_features=16, hidden_layers=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    options = FitOptions(epochs=1, learning_rate=0.0)
    siren = ImplicitInferer(lambda: Siren(hidden_features=8), options, device="cpu", keep_observed=False)
    inferer = DenseInferer({"siren": siren}, "siren", from_network=True, progress=False, keep_observed=False)
    with torch.no_grad():  # as MONAI calls it
        found = inferer(volume, network)
        corner = network.eval()(torch.tensor([[-1.0, -1.0, -1.0]])).item()
    assert found[0, 0, 0, 0, 0].item() == pytest.approx(np.clip(corner, 0, 1) * 1400 - 1000, abs=5)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_shape_method_carries_the_mask():
    volume = thick_volume((9, 9, 3), spacing=(1, 1, 2), channels=2)
    volume[0, 1] = 0
    volume[0, 1, 2:7, 2:7, 0] = volume[0, 1, 4, 4, 1] = 1
    found = dense(volume, SignedDistanceInferer())
    assert found.meta["content"] == "mask"
    expected = signed_distance(volume[0, 1].numpy() > 0, np.arange(3) * 2.0, np.arange(5.0))
    np.testing.assert_array_equal(found[0, 0].numpy(), expected)
    assert expected.sum(axis=(0, 1))[:3].tolist() == [25, 9, 1]
    with pytest.raises(InputError, match="fills in a mask, and there is none"):
        dense(thick_volume(), SignedDistanceInferer())


def test_a_batch_keeps_its_affines_and_positions():
    one, two = thick_volume(seed=1), thick_volume(seed=2)
    affines = torch.stack([one.affine, two.affine + torch.eye(4) * 0])
    affines[1, 0, 3] = 99
    positions = torch.from_numpy(np.stack([np.arange(6) * 2.5] * 2))
    batch = MetaTensor(torch.cat([one.as_tensor(), two.as_tensor()]), affine=affines)
    batch.meta["slice_positions"] = positions
    batch.is_batch = True
    found = dense(batch, LinearInferer(), slice_spacing=0.5)
    assert found.shape == (2, 1, 10, 8, 26)
    assert found.affine[1, 0, 3] == 99
    assert torch.equal(found[1, 0, ..., ::5].as_tensor(), two[0, 0].as_tensor())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"slice_spacing": 0}, "slice_spacing is 0, expected mm above 0"),
        ({"slice_spacing": "thin"}, "slice_spacing is thin"),
        ({"method": "liner"}, "did you mean 'linear'"),
    ],
)
def test_mistakes(change, sentence):
    options = {"method": "linear", "progress": False} | change
    with pytest.raises(InputError, match=sentence):
        DenseInferer({"linear": LinearInferer()}, **options)(thick_volume())


def test_a_tensor_without_affine_or_with_one_slice_is_refused():
    with pytest.raises(InputError, match="expected a MetaTensor"):
        dense(torch.zeros(1, 1, 4, 4, 4), LinearInferer())
    with pytest.raises(InputError, match=r"only 1 observed slice"):
        dense(thick_volume((4, 4, 1)), LinearInferer())


class HalfWay(LinearInferer):
    """Linear interpolation that knows the window alone, as a network does, with a residual of its own."""

    def unclipped(self):
        return None

    def _fill(self, image, positions, targets):
        assert image.min() >= 0
        assert image.max() <= 1
        return super()._fill(image, positions, targets) + 0.01 * (1 - image.mean())


@pytest.mark.parametrize("inside", [True, False])
def test_a_method_of_the_window_lies_on_all_hu(inside):
    volume = thick_volume(scale=60 if inside else 400)
    assert inside == (volume.min() >= -1000 and volume.max() <= 400)
    unit = (np.clip(volume[0, 0].numpy().astype(float), -1000, 400) + 1000) / 1400
    windowed = np.clip(HalfWay(clip=False)(unit, targets=np.arange(26) / 5, positions=np.arange(6)), 0, 1) * 1400 - 1000
    hu, places = volume[0, 0].numpy().astype(float), np.arange(26) / 5
    base = [PchipInterpolator(np.arange(6), v, axis=2)(places) for v in (hu, np.clip(hu, -1000, 400))]
    found = dense(volume, HalfWay(), slice_spacing=0.5)[0, 0].numpy()
    expected = windowed + base[0] - base[1]
    expected[..., ::5] = hu
    np.testing.assert_allclose(found, expected, atol=0.01)


def test_padding_stays_padding():
    volume = thick_volume((12, 8, 5), scale=60)
    volume.meta["padding_hu"] = -3024.0
    volume[0, 0, :3] = -3024  # the same in all slices
    volume[0, 0, 3, :, :2] = -3024  # ends in the gap between the second and the third
    hu = volume[0, 0].numpy()
    for method in (LinearInferer(), HalfWay()):
        found = dense(volume, method, slice_spacing=0.5)[0, 0].numpy()
        assert (found[:3] == -3024).all()
        assert (found[3, :, :8] == -3024).all()
        assert found[3, :, 8:].min() > -1100
        assert found[4:].min() > -1100
    # what is beside padding is not drawn towards it
    np.testing.assert_allclose(dense(volume, LinearInferer(), slice_spacing=0.5)[0, 0, 3, :, 8].numpy(), hu[3, :, 2])


@pytest.mark.parametrize("method", [PchipInferer, CubicInferer])
@pytest.mark.parametrize("options", [{}, {"thickness_mm": 2.0}, {"keep_observed": False}, {"tile": 3}])
def test_what_is_rounded_as_it_comes_is_what_would_be_rounded_at_the_end(method, options):
    volume = thick_volume(scale=800.0)
    volume[0, 0, 2:4] = -3024.0
    volume.meta["padding_hu"] = -3024.0
    late, early = (dense(volume, method(), slice_spacing=0.8, rounded=rounded, **options) for rounded in (False, True))
    assert late.dtype == torch.float32
    assert early.dtype == (torch.float32 if "keep_observed" in options else torch.int16)
    np.testing.assert_array_equal(np.rint(early.numpy()), np.rint(late.numpy()))
    np.testing.assert_array_equal(early[0, 0, 2:4].numpy(), -3024)


def test_each_nodule_of_a_label_map_is_carried_by_itself():
    volume = thick_volume((40, 20, 4), spacing=(1, 1, 4), channels=2)
    labels = np.zeros((40, 20, 4), np.float32)
    labels[3:12, 5:14, :2], labels[5:9, 8:11, 2] = 3, 3
    labels[14:17, 6:9, 2], labels[14:22, 4:14, 3] = 9, 9
    labels[30:36, 5:14, 1:3] = 9  # a second part of the same label
    volume[0, 1] = torch.from_numpy(labels)
    together = dense(volume, SignedDistanceInferer())[0, 0].numpy()
    assert set(np.unique(together)) == {0, 3, 9}
    alone = np.zeros_like(together)
    for label, where in ((3, np.s_[:13]), (9, np.s_[13:25]), (9, np.s_[25:])):
        one = np.zeros_like(labels)
        one[where] = labels[where] == label
        volume[0, 1] = torch.from_numpy(one)
        alone[dense(volume, SignedDistanceInferer())[0, 0].numpy() > 0] = label
    np.testing.assert_array_equal(together, alone)

"""The classifier learns, repeats itself, and looks at each image alone."""

import numpy as np
import pytest
import torch

from ddpm_dip.evaluation.classifier import (
    accuracy,
    build_classifier,
    classifier_features,
    load_classifier,
    train_classifier,
)
from ddpm_dip.jobs import files
from ddpm_dip.jobs.errors import UserError

torch.set_num_threads(1)


def bars(n: int, seed: int, channels: int = 1, side: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images with a horizontal (0) or a vertical (1) bar at a random place."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.rand(n, channels, side, side, generator=generator)
    labels = torch.randint(2, (n,), generator=generator)
    places = torch.randint(side, (n,), generator=generator)
    for image, label, place in zip(images, labels, places, strict=True):
        (image[:, place] if label == 0 else image[:, :, place]).add_(0.7)
    return images, labels


@pytest.fixture(scope="module")
def trained():
    return train_classifier(*bars(257, 0), classes=2, epochs=8, seed=1)  # 257: 1 more than four batches


def test_learns(trained):
    net, losses = trained
    assert accuracy(net, *bars(200, 1)) > 0.95
    assert len(losses) == 8 and losses[-1] < losses[0] / 2


def test_seed_decides_everything(trained):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again, losses = train_classifier(*bars(257, 0), classes=2, epochs=8, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert losses == trained[1]
    for ours, theirs in zip(again.state_dict().values(), trained[0].state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert train_classifier(*bars(257, 0), classes=2, epochs=1, seed=2)[1][0] != losses[0]


def test_features_do_not_depend_on_batch(trained):
    net, _ = trained
    images, _ = bars(20, 2)
    net.train()  # must not matter
    together = classifier_features(net, images)
    assert together.shape == (20, 64) and together.dtype == np.float32
    assert (together.std(0) > 0).sum() > 48  # few dead units
    for batch in (1, 7):
        np.testing.assert_allclose(classifier_features(net, images, batch), together, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 9, 9), (3, 16, 16), (1, 28, 28), (3, 64, 64)])
def test_shapes(shape):
    net = build_classifier(shape, 5)
    images = torch.rand(2, *shape)
    assert net(images).shape == (2, 5)
    assert classifier_features(net, images).shape == (2, 64)


@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 16, 20), (1, 7, 7)])
def test_refuses_shapes(shape):
    with pytest.raises(ValueError, match="image shape"):
        build_classifier(shape, 5)


def test_features_of_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"images of shape \(1, 16, 16\), but the classifier takes \(1, 8, 8\)"):
        classifier_features(build_classifier((1, 8, 8), 2), torch.zeros(3, 1, 16, 16))


def test_refuses_labels_that_do_not_fit():
    images, labels = bars(8, 3)
    for wrong in (labels[:-1], labels - 1, labels + 2):
        with pytest.raises(ValueError, match="label"):
            train_classifier(images, wrong, 2, 1, 0)


def test_a_loss_that_is_not_finite_stops_with_epoch_step_and_learning_rate():
    images = torch.rand(130, 1, 8, 8)
    images[5, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"loss became nan at epoch 1, step \d, with learning rate 0\.00"):
        train_classifier(images, torch.arange(130) % 2, 2, epochs=2, seed=0)


def test_saved_and_loaded(trained, tmp_path):
    net, _ = trained
    path = tmp_path / "classifier.safetensors"
    files.write_safetensors(path, net.state_dict(), {"image_shape": "1x8x8", "classes": 2})
    images, _ = bars(5, 4)
    loaded = classifier_features(load_classifier(path), images)
    assert np.array_equal(loaded, classifier_features(net, images))

    files.write_safetensors(path, net.state_dict(), {"image_shape": "1x16x16", "classes": 2})
    with pytest.raises(UserError, match="classifier.safetensors: not a classifier's weights"):
        load_classifier(path)
    with pytest.raises(UserError, match="none.safetensors: no such file"):
        load_classifier(tmp_path / "none.safetensors")


def test_a_damaged_file_is_named_but_not_to_be_deleted_as_it_may_be_the_users_own(tmp_path):
    path = tmp_path / "classifier.safetensors"
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="classifier.safetensors: damaged, or not a classifier's") as caught:
        load_classifier(path)
    assert "delete" not in str(caught.value)

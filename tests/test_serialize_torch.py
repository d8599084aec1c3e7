"""State dictionaries of PyTorch, saved as safetensors, load into tape's models, and the reverse."""

import numpy as np
import pytest

import tape
from tape import nn
from tape.errors import CheckpointError

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")


def both(torch_layer, tape_layer, *shapes, path):
    """What each gives for the same input, after tape has loaded PyTorch's file."""
    torch.manual_seed(0)
    for parameter in torch_layer.parameters():
        torch.nn.init.normal_(parameter)
    safetensors.save_file(torch_layer.state_dict(), path)
    tape.load(path, tape_layer)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape).astype("f") for shape in shapes]
    with torch.no_grad():
        theirs = torch_layer.eval()(*map(torch.from_numpy, inputs))
    ours = tape_layer.eval()(*map(tape.tensor, inputs))
    return (first(ours).numpy(), first(theirs).numpy())


def first(result):
    return result[0] if isinstance(result, tuple) else result


LAYERS = {
    "Linear": (lambda: torch.nn.Linear(5, 3), lambda: nn.Dense(3), (2, 5)),
    "Conv1d": (lambda: torch.nn.Conv1d(4, 6, 3), lambda: nn.Conv1d(6, 3), (2, 4, 9)),
    "Conv2d": (
        lambda: torch.nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2),
        lambda: nn.Conv2d(6, (3, 2), stride=2, padding=1, groups=2),
        (2, 4, 9, 8),
    ),
    "Conv3d": (lambda: torch.nn.Conv3d(2, 3, 2), lambda: nn.Conv3d(3, 2), (1, 2, 4, 4, 4)),
    "ConvTranspose2d": (
        lambda: torch.nn.ConvTranspose2d(4, 6, 3),
        lambda: nn.ConvTranspose2d(6, 3),
        (2, 4, 5, 5),
    ),
    "BatchNorm1d": (lambda: torch.nn.BatchNorm1d(4), lambda: nn.BatchNorm1d(4), (3, 4)),
    "BatchNorm2d": (lambda: torch.nn.BatchNorm2d(4), lambda: nn.BatchNorm2d(), (3, 4, 2, 2)),
    "LayerNorm": (lambda: torch.nn.LayerNorm(4), lambda: nn.LayerNorm(4), (3, 4)),
    "GroupNorm": (lambda: torch.nn.GroupNorm(2, 4), lambda: nn.GroupNorm(2, 4), (3, 4, 5)),
    "RNN": (lambda: torch.nn.RNN(3, 4), lambda: nn.RNN(4), (5, 2, 3)),
    "LSTM": (
        lambda: torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True),
        lambda: nn.LSTM(4, num_layers=2, bidirectional=True),
        (5, 2, 3),
    ),
    "GRU": (lambda: torch.nn.GRU(3, 4), lambda: nn.GRU(4), (5, 2, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_pytorch_load_and_compute_the_same(name, tmp_path):
    theirs, ours, shape = LAYERS[name]
    mine, other = both(theirs(), ours(), shape, path=tmp_path / "f")
    np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def test_a_network_of_pytorch_loads_by_name(tmp_path):
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(144, 5),
    )  # fmt: skip
    ours = nn.Sequential(nn.Conv2d(4, 3), nn.BatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.Dense(5))
    mine, other = both(theirs, ours, (2, 1, 8, 8), path=tmp_path / "f")
    np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


def test_pytorch_loads_what_tape_saves(tmp_path):
    ours = nn.Sequential(nn.Dense(4, 3), nn.BatchNorm1d(4), nn.Dense(2, 4))
    adam = tape.optim.Adam(ours.parameters())
    tape.save(tmp_path / "f", ours)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)
    )
    theirs.load_state_dict(safetensors.load_file(tmp_path / "f"))
    x = np.random.default_rng(0).standard_normal((5, 3)).astype("f")
    with torch.no_grad():
        expected = theirs.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours.eval()(tape.tensor(x)).numpy(), expected, rtol=1e-4, atol=1e-5)
    tape.save(tmp_path / "f", ours, optimizer=adam, step=3)
    assert safetensors.load_file(tmp_path / "f").keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_weights_load_as_float32_if_asked_for(dtype, tmp_path):
    theirs = torch.nn.Linear(3, 2).to(getattr(torch, dtype))
    safetensors.save_file(theirs.state_dict(), tmp_path / "f")
    ours = nn.Dense(2, 3)
    with pytest.raises(CheckpointError, match="widen=True reads it as float32"):
        tape.load(tmp_path / "f", ours)
    tape.load(tmp_path / "f", ours, widen=True)
    np.testing.assert_array_equal(ours.weight.numpy(), theirs.weight.detach().float().numpy())


def test_a_model_that_pytorch_saved_without_its_tied_copies_loads(tmp_path):
    theirs = torch.nn.ModuleDict(
        {"embed": torch.nn.Embedding(7, 3), "out": torch.nn.Linear(3, 7, bias=False)}
    )
    theirs["out"].weight = theirs["embed"].weight
    safetensors.save_model(theirs, str(tmp_path / "f"))
    ours = nn.Module()
    ours.embed, ours.out = nn.Embedding(7, 3), nn.Dense(7, 3, bias=False)
    ours.out.weight = ours.embed.weight
    tape.load(tmp_path / "f", ours)
    np.testing.assert_array_equal(ours.out.weight.numpy(), theirs["out"].weight.detach().numpy())

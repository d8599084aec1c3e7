"""Learn to write like a text, character by character, with a gated recurrent unit made of ops."""

from argparse import Namespace
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from training import Run, arguments

import tape
from tape import nn

WINDOW = 64


class CharGRU(nn.Module):
    """Logits of the next character from all before it (Cho et al. 2014, section 2.3)."""

    def __init__(self, n_chars: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.by_char, self.gates = nn.Embedding(n_chars, 3 * width), nn.Dense(2 * width)
        self.new, self.readout = nn.Dense(width), nn.Dense(n_chars)

    def step(self, chars: tape.Tensor, state: tape.Tensor) -> tape.Tensor:
        """The state after one more character.   Shapes: chars (n), state (n, width)"""
        *gates, new = tape.split(self.by_char(chars), 3, axis=1)
        keep, reset = tape.split(tape.sigmoid(tape.concat(gates, 1) + self.gates(state)), 2, axis=1)
        return keep * state + (1 - keep) * tape.tanh(new + self.new(reset * state))

    def forward(self, chars: np.ndarray) -> tape.Tensor:
        """Shapes: chars (n, t) -> logits (n * t, n_chars), row i * t + j after character j."""
        states = [tape.zeros((len(chars), self.width))]
        for column in chars.T:
            states.append(self.step(tape.asarray(column), states[-1]))
        return self.readout(tape.stack(states[1:], axis=1).reshape(-1, self.width))


def bits(net: CharGRU, windows: np.ndarray) -> tape.Tensor:
    """Mean bits per character: how well each one is foretold by those before it."""
    wanted = tape.asarray(windows[:, 1:].ravel())
    return tape.cross_entropy(net(windows[:, :-1]), wanted) / np.log(2)


def write(net: CharGRU, alphabet: np.ndarray, length: int, rng: np.random.Generator) -> str:
    """Draw `length` characters one after another, starting as after an end of line."""
    char, state, written = int(np.flatnonzero(alphabet == "\n")[0]), tape.zeros((1, net.width)), []
    with tape.no_grad():
        for _ in range(length):
            state = net.step(tape.tensor([char]), state)
            logits = net.readout(state).numpy()[0].astype(np.float64) / 0.7  # a cautious writer
            char = rng.choice(len(alphabet), p=np.exp(logits - np.logaddexp.reduce(logits)))
            written.append(alphabet[char])
    return "".join(written)


def build(args: Namespace):
    """The network, its optimizer, the batches, the rest of the text, its alphabet, a generator."""
    rng = np.random.default_rng(args.seed)
    tape.random.seed(args.seed)
    text = args.text.read_text(encoding="utf-8") if args.text else "\n".join(topics.values())
    text = text[:20_000] if args.tiny else text
    if len(text) < 20 * WINDOW:
        raise SystemExit(f"char_lm: {args.text} has {len(text)} characters, it takes {20 * WINDOW}")
    alphabet, codes = np.unique(np.array(list("\n" + text)), return_inverse=True)
    windows = np.lib.stride_tricks.sliding_window_view(codes, WINDOW + 1)[::WINDOW]
    train, held_out = windows[: len(windows) * 9 // 10], windows[len(windows) * 9 // 10 :]

    net = CharGRU(len(alphabet), 32 if args.tiny else 128)
    with tape.no_grad():
        bits(net, held_out[:1])  # the first call tells the layers their input sizes
    optimizer = tape.optim.Adam(net.parameters(), lr=4e-3)
    loader = tape.data.DataLoader(train, args.batch_size, shuffle=True, rng=rng, tensors=False)
    return net, optimizer, loader, held_out, alphabet, rng


def step(net: CharGRU, optimizer: tape.optim.Optimizer, windows: np.ndarray) -> float:
    """Follow the gradient of one batch; its loss."""
    optimizer.zero_grad()
    loss = bits(net, windows)
    loss.backward()
    tape.optim.clip_grad_norm(net.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def main() -> None:
    """Train on nine tenths of the text, measure on the last tenth, write some."""
    text_file = {"type": Path, "metavar": "FILE", "help": "(default: Python's help topics)"}
    args = arguments(__doc__, "char_lm", epochs=6, batch_size=32, more={"--text": text_file})
    net, optimizer, loader, held_out, alphabet, rng = build(args)
    run = Run(args.out)
    for epoch, batches in run.epochs(args.epochs, loader):
        losses = [step(net, optimizer, batch) for batch in batches]
        with tape.no_grad():
            measured = bits(net, held_out).item()
        run.log(epoch=epoch, bits=np.mean(losses), held_out_bits=measured)
    run.save(net)
    run.curve(["bits", "held_out_bits"])
    print(write(net, alphabet, 60 if args.tiny else 400, rng))
    print(f"\nheld-out bits per character {measured:.3f}, a guess {np.log2(len(alphabet)):.3f}")


if __name__ == "__main__":
    main()

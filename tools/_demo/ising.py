"""Monte Carlo of the two-dimensional Ising model at one temperature.

Runs independent lattices side by side, by the Metropolis algorithm on a
checkerboard, and saves the mean magnetisation of each of them.
"""

import argparse
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--temperature", type=float, required=True, help="in units of J/k")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=32, help="of the lattice, an even number")
    parser.add_argument("--lattices", type=int, default=16)
    parser.add_argument("--sweeps", type=int, default=4000)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()

    rng = np.random.default_rng([args.seed, round(1e6 * args.temperature)])
    spins = np.ones((args.lattices, args.size, args.size), dtype=np.int8)
    black = np.indices((args.size, args.size)).sum(axis=0) % 2 == 0
    # Flipping a spin against k aligned neighbours costs 2k.
    chance = {cost: np.exp(-2 * cost / args.temperature) for cost in (2, 4)}

    warm_up = args.sweeps // 4
    trace = np.empty((args.sweeps - warm_up, args.lattices))
    for sweep in range(args.sweeps):
        for colour in (black, ~black):
            neighbours = sum(np.roll(spins, step, axis) for step in (1, -1) for axis in (1, 2))
            cost = (spins * neighbours)[:, colour]
            draw = rng.random(cost.shape, dtype=np.float32)
            flips = (cost <= 0) | (draw < np.where(cost == 2, chance[2], chance[4]))
            spins[:, colour] *= np.where(flips, -1, 1).astype(np.int8)
        if sweep >= warm_up:
            trace[sweep - warm_up] = spins.mean(axis=(1, 2))

    magnetisation = np.abs(trace).mean(axis=0)
    susceptibility = args.size**2 * ((trace**2).mean(axis=0) - magnetisation**2) / args.temperature
    args.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        args.output,
        temperature=args.temperature,
        size=args.size,
        magnetisation=magnetisation,
        susceptibility=susceptibility,
    )
    print(f"T = {args.temperature:.2f}: |m| = {magnetisation.mean():.3f}, saved in {args.output}")


if __name__ == "__main__":
    main()

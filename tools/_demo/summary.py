"""Bring the runs of all temperatures together: a table and a plot in text."""

import argparse
from pathlib import Path

import numpy as np

CRITICAL = 2 / np.log(1 + np.sqrt(2))
WIDTH = 60


def exact(temperature: float) -> float:
    """Return Onsager's magnetisation of the infinite lattice."""
    if temperature >= CRITICAL:
        return 0.0
    return float((1 - np.sinh(2 / temperature) ** -4) ** (1 / 8))


def estimate(values: np.ndarray) -> tuple[float, float]:
    """Return the mean of independent lattices, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def bar(magnetisation: float, theory: float) -> str:
    cells = ["#" if cell < round(magnetisation * WIDTH) else " " for cell in range(WIDTH + 1)]
    cells[round(theory * WIDTH)] = "|"
    return "".join(cells).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()

    runs = sorted(map(np.load, args.runs.glob("*.npz")), key=lambda run: run["temperature"])
    args.output.mkdir(parents=True, exist_ok=True)

    table = ["temperature,magnetisation,error,susceptibility,error,exact"]
    plot = [f"magnetisation against temperature: # this study, | exact (Tc = {CRITICAL:.3f})", ""]
    print("    T      |m|   +- error   exact       chi   +- error")
    for run in runs:
        temperature = float(run["temperature"])
        theory = exact(temperature)
        m, m_error = estimate(run["magnetisation"])
        chi, chi_error = estimate(run["susceptibility"])
        print(
            f"{temperature:5.2f}   {m:6.4f}   {m_error:6.4f}   {theory:6.4f}   "
            f"{chi:7.3f}   {chi_error:7.3f}"
        )
        table.append(
            f"{temperature:.2f},{m:.5f},{m_error:.5f},{chi:.4f},{chi_error:.4f},{theory:.5f}"
        )
        plot.append(f"{temperature:5.2f} {bar(m, theory)}")
    plot.append(f"      0{'1':>{WIDTH}}")
    (args.output / "summary.csv").write_text("\n".join(table) + "\n")
    (args.output / "plot.txt").write_text("\n".join(plot) + "\n")


if __name__ == "__main__":
    main()

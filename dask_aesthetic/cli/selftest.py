"""``dask-aesthetic selftest``."""

from __future__ import annotations

import click


@click.command("selftest")
def command() -> None:
    """Compare scores of golden vectors, bit by bit, with those of every machine, per predictor and device.

    Scores of a network, nsfw-l14, may differ by 1e-6.
    """
    from dask_aesthetic import selftest as checks

    results = checks.selftest()
    for check in results:
        verdict = "ok" if check.passed else "WRONG"
        click.echo(f"{verdict:>5}  {check.predictor} on {check.device}: largest difference {check.difference:.1e}")
        for name, scores in (("expected", check.expected), ("got", check.got)):
            click.echo(f"       {name:>8}  " + " ".join(f"{score:12.9g}" for score in scores))
    wrong = [check for check in results if not check.passed]
    if wrong:
        raise click.ClickException(
            f"expected the scores of every machine, got others in {len(wrong)} of {len(results)} checks"
        )
    near = f" (networks: within {checks.NETWORK_TOLERANCE:g})"
    click.echo(f"{len(results)} of {len(results)} checks passed: the same bits in every score{near}")

"""``dask-aesthetic selftest``."""

from __future__ import annotations

import click


@click.command("selftest")
def command() -> None:
    """Compare scores of golden vectors with those of the published layers, per predictor and device."""
    from dask_aesthetic import selftest as checks

    results = checks.selftest()
    for check in results:
        verdict = "ok" if check.passed else "WRONG"
        click.echo(f"{verdict:>5}  {check.predictor} on {check.device}: largest difference {check.difference:.1e}")
        for name, scores in (("expected", check.expected), ("got", check.got)):
            click.echo(f"       {name:>8}  " + " ".join(f"{score:10.6f}" for score in scores))
    wrong = [check for check in results if not check.passed]
    if wrong:
        raise click.ClickException(
            f"expected differences up to {checks.TOLERANCE:g}, {len(wrong)} of {len(results)} checks exceed it"
        )
    click.echo(f"{len(results)} of {len(results)} checks passed (differences up to {checks.TOLERANCE:g})")

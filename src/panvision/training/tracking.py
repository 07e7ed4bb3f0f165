"""Training as Weights & Biases shows it; off by default, and then the package is not even imported."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol

from panvision.core.params import ParamsError
from panvision.training.curves import Row
from panvision.training.settings import TrackingSettings


class Tracker(Protocol):
    """Receiver of an epoch's metrics, in addition to the curves.

    Attributes:
        run_id: the run that an interrupted phase resumes; None without one.
    """

    run_id: str | None

    def log(self, row: Row) -> None:
        """Log one epoch; undefined figures are left out."""
        ...

    def finish(self) -> None:
        """End the run: nothing is logged after this."""
        ...


class NoTracker:
    """Tracking is off."""

    run_id: str | None = None

    def log(self, row: Row) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


class WandbTracker:
    """One W&B run per phase; `WANDB_MODE=offline` needs no network and no account."""

    def __init__(
        self,
        wandb: ModuleType,
        settings: TrackingSettings,
        phase: str,
        config: Mapping[str, Any],
        *,
        run_id: str | None = None,
    ) -> None:
        self._phase = phase
        self._run = wandb.init(
            project=settings.wandb.project,
            entity=settings.wandb.entity,
            name=phase,
            job_type=phase,
            config=dict(config),
            id=run_id,
            resume="allow",
        )
        self.run_id: str | None = self._run.id

    def log(self, row: Row) -> None:
        """Log an epoch under the phase's name, for example `phase2/val_total`.

        The epoch is W&B's step: one that was logged before an interruption and trained again stays there once.
        """
        figures = {f"{self._phase}/{name}": value for name, value in row.items() if value is not None}
        self._run.log(figures, step=row["epoch"])

    def finish(self) -> None:
        """Close the run."""
        self._run.finish()


def make_tracker(
    settings: TrackingSettings, phase: str, config: Mapping[str, Any], *, run_id: str | None = None
) -> Tracker:
    """The tracker that params.yaml asks for.

    Args:
        settings: the `tracking` section.
        phase: `phase1` or `phase2`.
        config: what the run is described with.
        run_id: the W&B run to resume; by default a new one.

    Raises:
        ParamsError: W&B is asked for and not installed, or refuses the run, as without a login.
    """
    if not settings.wandb.enabled:
        return NoTracker()
    try:
        import wandb
    except ImportError as error:
        raise ParamsError(
            "tracking.wandb.enabled: the package wandb is not installed; `pip install '.[wandb]'`, or set it to false"
        ) from error
    try:
        return WandbTracker(wandb, settings, phase, config, run_id=run_id)
    except wandb.Error as error:
        raise ParamsError(
            f"tracking.wandb.enabled: {' '.join(str(error).split())}; run `wandb login`, set WANDB_MODE=offline, or "
            "set it to false"
        ) from error

"""A report: the analysis of a frame and its verdict, and the files that say both."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from lrbench.analysis.analyse import Settings, analyse
from lrbench.analysis.audit.findings import Finding
from lrbench.analysis.machine_files import ranking_table, write_machine_files
from lrbench.analysis.model import Analysis
from lrbench.analysis.prediction import Prediction
from lrbench.analysis.short_names import with_short_names
from lrbench.analysis.verdict.recommend import Recommendation
from lrbench.analysis.verdict.verdict import Verdict, verdict


@dataclass(frozen=True)
class Report:
    """What the runs of a frame say about schedules; in a notebook it shows its verdict and its ranking.

    Attributes:
        frame: tidy, see `lrbench.results.schema`.
        settings: what was declared of the metric.
        analysis: every number.
        verdict: every sentence.
        prediction: of the schedules from short runs, beside what was measured; None where nobody asked.
    """

    frame: pd.DataFrame
    settings: Settings
    analysis: Analysis
    verdict: Verdict
    prediction: Prediction | None = None

    @classmethod
    def of(
        cls,
        frame: pd.DataFrame,
        settings: Settings,
        *,
        mixture: Sequence[Finding] = (),
        prediction: Prediction | None = None,
    ) -> "Report":
        """Analyse a frame.

        Args:
            frame: tidy.
            settings: declared beforehand.
            mixture: how the runs came together, as far as that needs saying.
            prediction: with what was measured.

        Raises:
            ValueError: see `analyse`.
        """
        analysis = analyse(frame, settings=settings)
        analysis = replace(analysis, findings=(*mixture, *analysis.findings))
        return cls(frame, settings, analysis, verdict(analysis), prediction)

    @cached_property
    def ranking(self) -> pd.DataFrame:
        """One row per budget, workload and schedule, the best first: what ranking.csv has."""
        return ranking_table(self.analysis)

    @cached_property
    def shown(self) -> tuple[Analysis, Verdict]:
        """Both with short names of workloads, for people."""
        analysis = with_short_names(self.analysis)
        return analysis, verdict(analysis)

    @property
    def recommendations(self) -> list[Recommendation]:
        """Which schedule to use, one a workload and budget."""
        return [item for section in self.verdict.sections for item in section.recommendations]

    @property
    def compares_something(self) -> bool:
        """Whether two schedules have a final value on one workload."""
        finished = [
            (cell.workload, cell.scheduler) for part in self.analysis.sections for cell in part.cells if cell.num_ok
        ]
        return any(sum(workload == other for other, _ in finished) > 1 for workload, _ in finished)

    def save(self, directory: str | Path) -> list[Path]:
        """Write report.html with its pictures, report.md, ranking.csv, metrics.csv and verdict.json.

        Returns:
            The files, report.html first, without the pictures.
        """
        from lrbench.reporting.page import write_html  # matplotlib and jinja take a while

        folder = Path(directory)
        files = write_machine_files(self.analysis, self.verdict, folder)
        return [write_html(*self.shown, folder, prediction=self.prediction), *files]

    def _repr_html_(self) -> str:
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in self.verdict.lines)
        return f"<ul>{lines}</ul>{self.ranking.to_html(index=False, na_rep='')}"

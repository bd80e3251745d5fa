"""The diagrams of the documents are code: each renders, and the pipeline's shows what infra/pipeline.json says."""

from __future__ import annotations

import re

import mermaidx
import pytest

from infra.local.plan import PROJECT_ROOT
from shared.pipeline import load_pipeline

PAGES = sorted((PROJECT_ROOT / "docs").rglob("*.md"))
DIAGRAMS = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"^```mermaid\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )
]


@pytest.mark.parametrize("text", DIAGRAMS)
def test_a_diagram_renders(text: str) -> None:
    svg = mermaidx.render(text).svg()

    assert svg.lstrip().startswith("<svg")
    assert len(svg) > 5_000


def test_a_broken_diagram_does_not() -> None:
    with pytest.raises(RuntimeError, match="Parse error"):
        mermaidx.render("flowchart LR\n  a[webhook --> b\n").svg()


def test_the_pipelines_diagram_shows_every_service_and_topic() -> None:
    page = (PROJECT_ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (diagram,) = re.findall(r"^```mermaid\n(flowchart LR\n  callrail.*?)^```", page, re.MULTILINE | re.DOTALL)
    pipeline = load_pipeline()

    assert set(re.findall(r"\{\{([a-z-]+)\}\}", diagram)) == set(pipeline.topics)
    assert [name for name in pipeline.services if not re.search(rf"\b{name}\b", diagram)] == []

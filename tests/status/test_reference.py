"""The tables that the reference is made from say what the daemon answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docutils.core
import pytest

from pybootd.observe.diagnosis.reference import render_verdicts
from pybootd.observe.diagnosis.verdicts import VERDICTS
from pybootd.status import reference
from tests.observe.story import SYSTEM

from .looking import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.close()


def names(fields: tuple[reference.Field, ...], *without: str) -> set[str]:
    return {one.name for one in fields} - set(without)


def test_each_document_has_the_fields_of_its_table(rig: Rig) -> None:
    rig.lease()
    rig.fetch("loader.efi", 5000)
    rig.start("linux", 8000)
    rig.miss("initrd.gz")
    rig.end("linux")
    rig.pass_time(60)
    paths = {one.path: one for one in reference.PATHS}
    for path in ("/api", "/api/clients", "/api/clients/failed", "/api/leases", "/api/site"):
        assert set(rig.json(path)) == names(paths[path].fields), path
    (row,) = rig.json("/api/clients")["clients"]
    assert set(row) == names(reference.CLIENT.fields, "daemon", "elsewhere")
    client = rig.json("/api/clients/10.7.0.100")["client"]
    (boot,) = client["boots"]
    assert set(boot) == names(reference.BOOT.fields)
    assert set(boot["verdict"]) == names(reference.VERDICT.fields)
    for step in boot["steps"]:
        table = reference.STEP if step["type"] == "step" else reference.TRANSFER
        assert set(step) == names(table.fields)
    status, body = rig.get("/api/clients/02:00:00:00:00:99")
    assert status == 404
    assert all(f'"{name}":' in body for name in names(reference.ERROR))


def test_a_row_under_way_has_the_fields_of_a_transfer(rig: Rig) -> None:
    rig.lease()
    rig.start("linux", 8000)
    (row,) = rig.json("/api/clients")["clients"]
    assert set(row["transfers"][0]) == names(reference.TRANSFER.fields)


def test_each_metric_of_the_table_is_there_and_no_other(rig: Rig) -> None:
    rig.lease(SYSTEM)
    text = rig.get("/metrics")[1]
    kinds = {line.split()[2]: line.split()[3] for line in text.splitlines() if "# TYPE" in line}
    wanted = {
        f"{one.name}_total" if one.counter else one.name: "counter" if one.counter else "gauge"
        for one in reference.METRICS
    }
    assert kinds == wanted


@pytest.mark.parametrize(
    "render", [render_verdicts, reference.render_api, reference.render_metrics]
)
def test_the_reference_is_sound_rst(render: Any) -> None:
    text = f"Title\n=====\n\n{render()}"
    tree = docutils.core.publish_doctree(text, settings_overrides={"halt_level": 2})
    assert len(tree.astext()) > 500


def test_each_verdict_is_in_the_reference_once() -> None:
    text = render_verdicts()
    for one in VERDICTS:
        assert text.count(f"``{one.code}``, ") == 1
    assert len({one.code for one in VERDICTS}) == len(VERDICTS)

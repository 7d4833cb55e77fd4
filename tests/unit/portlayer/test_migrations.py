"""The facets' migrations, as a whole."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

ROOT = Path(__file__).resolve().parents[3]
FACETS = sorted(path.parent.name for path in ROOT.glob("services/*/migrations"))


@pytest.mark.parametrize("facet", FACETS)
def test_migrations_of_a_facet_are_one_line(facet: str) -> None:
    directory = ROOT / "services" / facet / "migrations"
    config = Config()
    config.set_main_option("script_location", str(directory))
    config.set_main_option("path_separator", "os")
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert [script.down_revision for script in scripts] == [
        *(script.revision for script in scripts[1:]),
        None,
    ]
    # The number in the file's name is the revision's.
    for script in scripts:
        assert Path(script.path).name.startswith(f"{script.revision}_")

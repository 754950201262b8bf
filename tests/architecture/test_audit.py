"""`make audit`: a hole is an error, and what could not be asked about is not passed over."""

from ops.audit import verdict

SOUND = {"name": "a", "version": "1", "vulns": []}
HOLED = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found"}


def test_a_known_hole_is_an_error_with_its_mend() -> None:
    said, code = verdict([SOUND, HOLED], "")
    assert code == 1 and "b 2: PYSEC-1, mended in 3" in said and "NOT AUDITED" not in said


def test_what_could_not_be_asked_about_is_said() -> None:
    said, code = verdict([SOUND, UNKNOWN], "")
    assert code == 0 and "NOT AUDITED: 1 packages" in said and "1 packages asked about" in said
    said, code = verdict([], "WARNING\nno network")
    assert code == 0 and "NOT AUDITED: no network" in said


def test_all_sound_is_said_as_such() -> None:
    assert verdict([SOUND], "") == ("audit: 1 packages asked about, 0 known vulnerabilities", 0)

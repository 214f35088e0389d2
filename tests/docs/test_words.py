"""The lint of words finds what is planted, and names the place and the better word."""

from tests import words

LIST = """
# a comment
anew       = again
of its own = its own X
Whose      = begin with the noun
"""


def found(text):
    return list(words.find_words(text, words.read_list(LIST)))


def test_a_word_is_found_in_any_case_with_its_line():
    assert found("one\nis Anew written\n") == ["2: anew: write again"]


def test_a_word_with_capitals_is_compared_with_its_case():
    assert found("a client whose address ran out") == []
    assert found("Whose offer was taken back") == ["1: Whose: write begin with the noun"]


def test_a_phrase_goes_on_behind_a_comment_s_sign_or_in_a_name():
    assert found("    # of its\n    # own") == ["1: of its own: write its own X"]
    assert found("def test_a_file_of_its_own(tmp_path):") == ["1: of its own: write its own X"]


def test_a_part_of_another_word_is_not_found():
    assert found("renewed, manewr") == []


def test_of_the_changes_only_the_newest_version_is_read(tmp_path):
    changes = tmp_path / "CHANGES.rst"
    changes.write_text("Changes\n=======\n\n2.0.0\n-----\n\n- new\n\n1.0.0\n-----\n\n- anew\n")
    assert "- new" in words.read_text(changes)
    assert "anew" not in words.read_text(changes)

import pytest

from panvision.dataset.reviewed import ReviewedError, read_reviewed


def test_reviewed_ignores_other_columns_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "reviewed.csv"
    path.write_text('\ufeffwhat,score,dataset,file\nmask_empty,1,segmentation,"masks/a,b.png"\n', encoding="utf-8")
    assert read_reviewed(path) == {("segmentation", "masks/a,b.png", "mask_empty")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"dataset,file\na,b\n", "has no column what; the columns are dataset, file, what"),
        (b"", "has no column dataset, file, what"),
        (b"dataset,file,what\na,b\n", "line 2 has too few cells"),
        (b"\xff\xfe\n", "not a CSV table"),
        (None, "cannot be read: No such file or directory; name another file with --reviewed"),
    ],
)
def test_a_wrong_table_is_one_clear_error(tmp_path, content, words):
    path = tmp_path / "reviewed.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReviewedError) as caught:
        read_reviewed(path)
    assert str(caught.value).startswith(f"{path}: {words}") and "\n" not in str(caught.value)

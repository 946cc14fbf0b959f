"""The layouts of video sets, written here as UCF101 and Kinetics publish them."""

import pytest

from deepmad_jax.config import DataConfig, VideoConfig
from deepmad_jax.data.videos import open_videos
from deepmad_jax.errors import InvalidConfig, MissingData, UserError

UCF = VideoConfig()
KINETICS = VideoConfig(
    layout="kinetics", list_file="annotations/{split}.csv", video_folder="{split}"
)
FOLDER = VideoConfig(layout="folder", video_folder="{split}")
CSV = "label,youtube_id,time_start,time_end,split\n"


def touch(*paths):
    """Opening lists files and opens none, so these are empty."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def ucf101(root):
    """Two classes of UCF101, one of whose files are spelled otherwise than its folder."""
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n")
    train = [
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi",
        "HandstandPushups/v_HandStandPushups_g08_c01.avi",
        "HandstandPushups/v_HandStandPushups_g08_c02.avi",
    ]
    test = ["HandstandPushups/v_HandStandPushups_g01_c01.avi"]
    numbers = {"ApplyEyeMakeup": 1, "HandstandPushups": 2}
    lines = [f"{name} {numbers[name.split('/')[0]]}\r\n" for name in train]
    (lists / "trainlist01.txt").write_text("".join(lines))
    (lists / "testlist01.txt").write_text("".join(f"{name}\r\n" for name in test))
    touch(*(root / "UCF-101" / name for name in train + test))
    return DataConfig(data_dir=str(root), train_split="trainlist01", eval_split="testlist01")


def kinetics(root):
    (root / "annotations").mkdir(parents=True)
    (root / "annotations" / "train.csv").write_text(
        CSV + "zumba,---QUuC4vJs,84,94,train\nabseiling,-_aaMGK6GGw,57,67,train\n"
        '"playing chess, blind",aaaaaaaaaaa,0,10,train\n'
    )
    (root / "annotations" / "val.csv").write_text(CSV + "abseiling,bbbbbbbbbbb,7,17,validate\n")
    touch(
        root / "train" / "abseiling" / "-_aaMGK6GGw_000057_000067.mp4",
        root / "train" / "---QUuC4vJs_000084_000094.mkv",
        root / "train" / "playing chess, blind" / "aaaaaaaaaaa.mp4",
        root / "val" / "bbbbbbbbbbb_000007_000017.mp4",
    )
    return DataConfig(data_dir=str(root), train_split="train", eval_split="val")


def labelled(source):
    return {source.paths[i]: source.labels[i] for i in range(len(source))}


def test_ucf101s_lists_number_classes_from_one_and_name_files_by_folder(tmp_path):
    data = open_videos(ucf101(tmp_path), UCF)
    assert data.names == ("ApplyEyeMakeup", "HandstandPushups")
    assert labelled(data.train) == {
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi": 0,
        "HandstandPushups/v_HandStandPushups_g08_c01.avi": 1,
        "HandstandPushups/v_HandStandPushups_g08_c02.avi": 1,
    }
    assert labelled(data.evaluation) == {"HandstandPushups/v_HandStandPushups_g01_c01.avi": 1}
    element = data.evaluation[0]
    assert element["video"] == data.evaluation.name_of(0)
    assert (element["label"], element["index"]) == (1, 0)


def test_clips_of_kinetics_are_found_in_folders_of_classes_or_without(tmp_path):
    data = open_videos(kinetics(tmp_path), KINETICS)
    assert data.names == ("abseiling", "playing chess, blind", "zumba")
    assert labelled(data.train) == {
        "---QUuC4vJs_000084_000094.mkv": 2,
        "abseiling/-_aaMGK6GGw_000057_000067.mp4": 0,
        "playing chess, blind/aaaaaaaaaaa.mp4": 1,
    }
    assert labelled(data.evaluation) == {"bbbbbbbbbbb_000007_000017.mp4": 0}


def test_a_folder_is_a_class_and_other_files_are_passed_over(tmp_path):
    touch(
        tmp_path / "train" / "run" / "a.mp4",
        tmp_path / "train" / "jump" / "deep" / "b.AVI",
        tmp_path / "train" / "jump" / "notes.txt",
        tmp_path / "train" / "jump" / "._b.avi",
        tmp_path / "train" / "lost.mp4",
        tmp_path / "val" / "run" / "c.webm",
    )
    data = open_videos(DataConfig(data_dir=str(tmp_path), eval_split="val"), FOLDER)
    assert data.names == ("jump", "run")
    assert labelled(data.train) == {"jump/deep/b.AVI": 0, "run/a.mp4": 1}
    assert labelled(data.evaluation) == {"run/c.webm": 1}


def test_missing_videos_are_counted_named_and_left_out(tmp_path, capfd):
    config = ucf101(tmp_path)
    gone = "HandstandPushups/v_HandStandPushups_g08_c02.avi"
    (tmp_path / "UCF-101" / gone).unlink()
    with pytest.raises(MissingData, match=rf"1 of the 3 videos of trainlist01 .*{gone}"):
        open_videos(config, UCF)
    data = open_videos(config, VideoConfig(missing_share=0.5))
    assert gone not in data.train.paths
    assert len(data.train) == 2
    said = capfd.readouterr().err
    assert "left out: 1 of the 3 videos of trainlist01" in said
    assert gone in said


def test_without_any_video_nothing_starts_whatever_may_be_missing(tmp_path):
    config = kinetics(tmp_path)
    for path in (tmp_path / "val").rglob("*.mp4"):
        path.unlink()
    kept = VideoConfig(
        layout="kinetics",
        list_file=KINETICS.list_file,
        video_folder="{split}",
        missing_share=1.0,
    )
    with pytest.raises(MissingData, match="1 of the 1 videos of val"):
        open_videos(config, kept)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("annotations/val.csv", "label,id\nx,y\n", "no column youtube_id or time_start"),
        ("annotations/val.csv", f"{CSV}x,bbbbbbbbbbb,soon,17,val\n", "line 2: 'soon' to '17'"),
        ("annotations/val.csv", f"{CSV},bbbbbbbbbbb,7,17,val\n", "line 2, has no label"),
        ("annotations/val.csv", f"{CSV}surfing,bbbbbbbbbbb,7,17,val\n", "1 classes of val .*surf"),
    ],
)
def test_lists_that_cannot_be_used_are_told_by_name(tmp_path, file, text, said):
    config = kinetics(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=said):
        open_videos(config, KINETICS)


def test_classes_that_are_not_numbered_are_told(tmp_path):
    config = ucf101(tmp_path)
    (tmp_path / "ucfTrainTestlist" / "classInd.txt").write_text("1 ApplyEyeMakeup\n3 Handstand\n")
    with pytest.raises(InvalidConfig, match=r"classInd\.txt does not number classes from 1"):
        open_videos(config, UCF)


def test_what_is_not_there_is_named_with_the_field_to_set(tmp_path):
    with pytest.raises(MissingData, match=r"--config\.data\.data_dir"):
        open_videos(DataConfig(), UCF)
    config = ucf101(tmp_path)
    with pytest.raises(MissingData, match=r"no folder .*videos.*--config\.video\.video_folder"):
        open_videos(config, VideoConfig(video_folder="videos"))
    with pytest.raises(MissingData, match=r"no list .*other\.txt.*--config\.video\.list_file"):
        open_videos(config, VideoConfig(list_file="other.txt"))

"""What the configuration file may say; and that every mistake is told with its key and what to do."""

import re
from pathlib import Path

import pytest

from image_workers.config import (
    Config,
    DecodingConfig,
    GuetzliConfig,
    ResizeConfig,
    ScratchConfig,
    load,
    parse,
)
from image_workers.decoder import Limits
from image_workers.errors import ConfigError
from image_workers.making.forms import Form, Recipe
from image_workers.stores.settings import DirectoryConfig, OssConfig, StoreKeys
from image_workers.web.settings import Rate, ServeConfig
from periodic_client.words import fields_of

EXAMPLE = Path(__file__).parents[2] / "image_workers/example.yml"

ORIGINAL = """
periodic: unix:///tmp/periodic.sock
thread: 10
root: images
enable-save: true
enable-remove: true
enable-guetzli: true
guetzli:
  output: guetzli
  lock-name: guetzli
  lock-count: 1
  verbose: 0
  quality: 95
  memlimit_mb: 6000
resizes:
  - func: resize-1024
    width: 1024
    output: resize-image
    suffix: _fw1024.jpg
  - func: resize-64
    width: 64
    output: resize-image
    suffix: _fw64.jpg
bucket:
  directory: ./bucket
  root_path: /
"""


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


def test_an_empty_file_is_the_original_s_defaults() -> None:
    config = parse("")
    assert (config.url, config.thread, config.root) == (None, 2, DirectoryConfig(Path("images"), ""))
    assert (config.save, config.remove, config.compress) == ("off", "off", "off")
    run = config.guetzli_run
    assert (run.output, run.lock_name, run.lock_count, run.verbose) == ("guetzli", None, 1, False)
    assert (run.quality, run.memlimit_mb, run.max_pixels, run.time_limit_s) == (95, 6000, 2_000_000, 600)
    assert config.resizes == ()
    assert config.bucket == DirectoryConfig(Path("bucket"), "")
    assert (config.cache_ms, config.max_pixels, config.max_bytes) == (432_000_000, 64_000_000, 64_000_000)
    assert config.decoding == Limits(memory_bytes=1_500_000_000, cpu_seconds=30, seconds=120)


def test_the_original_s_file_is_understood() -> None:
    config = parse(ORIGINAL)
    assert (config.url, config.thread) == ("unix:///tmp/periodic.sock", 10)
    assert (config.save, config.remove, config.compress) == ("here", "here", "here")
    assert config.resizes == (
        ResizeConfig("resize-1024", 1024, "resize-image", "_fw1024.jpg", 80, format="jpeg"),
        ResizeConfig("resize-64", 64, "resize-image", "_fw64.jpg", 80, format="jpeg"),
    )
    assert config.encoder == "guetzli"
    assert [len(resizes) for resizes in config.groups.values()] == [1, 1], "a function for each width"
    assert config.recipe(config.resizes) == Recipe((Form(1024), Form(64)), "pillow")


def test_the_original_s_sample_with_its_bucket_and_four_widths_loads_as_it_is() -> None:
    """The sample that came with the original, but for its keys."""
    resizes = "".join(
        f"  - func: resize-{width}\n    width: {width}\n    output: resize-image\n    suffix: _fw{width}.jpg\n"
        for width in (1024, 500, 192, 64)
    )
    config = parse(
        "periodic: unix:///tmp/periodic.sock\nthread: 10\nroot: images\n"
        "enable-save: true\nenable-remove: true\nenable-guetzli: true\n"
        "guetzli:\n  output: guetzli\n  lock-name: guetzli\n  lock-count: 1\n  verbose: 0\n  quality: 95\n"
        f"  memlimit_mb: 6000\nresizes:\n{resizes}"
        "bucket:\n  access_id: the-id\n  access_key: the-secret\n  name: photos\n"
        "  endpoint: oss-cn-hangzhou.aliyuncs.com\n  root_path: /\n"
    )
    assert list(config.groups) == ["resize-1024", "resize-500", "resize-192", "resize-64"]
    for resizes_of_one in config.groups.values():
        (resize,) = resizes_of_one
        assert (resize.suffix, resize.output) == (f"_fw{resize.width}.jpg", "resize-image")
        assert config.recipe(resizes_of_one) == Recipe((Form(resize.width, quality=80),), "pillow")
    assert (config.encoder, config.compress, config.guetzli_run.quality) == ("guetzli", "here", 95)
    assert isinstance(config.bucket, OssConfig)


@pytest.mark.parametrize(
    ("text", "encoder"),
    [
        ("", "jpegli"),
        ("resizes: [{width: 64}]", "jpegli"),
        ("enable-compress: true", "jpegli"),
        ("enable-guetzli: true", "guetzli"),
        ("enable-guetzli: false", "guetzli"),
        ("guetzli: {quality: 90}", "guetzli"),
        ("resizes: [{func: resize-64, width: 64}]", "guetzli"),
        ("encoder: guetzli\nenable-compress: elsewhere", "guetzli"),
        ("enable-guetzli: true\nencoder: jpegli", "jpegli"),
        ("resizes: [{func: small}]\nencoder: pillow", "pillow"),
    ],
)
def test_a_new_file_has_jpegli_and_one_with_the_original_s_keys_keeps_guetzli(text: str, encoder: str) -> None:
    assert parse(text).encoder == encoder


def test_an_original_s_file_without_guetzli_has_none() -> None:
    config = parse("resizes: [{func: small}]")
    assert (config.compress, config.recipe(config.resizes).encoder) == ("off", "pillow")


def test_a_resize_needs_nothing() -> None:
    assert parse("resizes: [{}]").resizes == (
        ResizeConfig("resize", 100, "resize-image", "_fw100.jpg", 84, format="jpeg"),
    )
    assert parse("resizes: [{func: small, width: 50}]").resizes == (
        ResizeConfig("small", 50, "resize-image", "_fw100.jpg", 80, format="jpeg"),
    ), "the original's default says 100 whatever the width is"


def test_resizes_of_one_function_are_made_together() -> None:
    config = parse("resizes: [{width: 64}, {width: 192}, {func: a, width: 5, suffix: a}]")
    assert {func: [each.width for each in resizes] for func, resizes in config.groups.items()} == {
        "resize": [64, 192],
        "a": [5],
    }


@pytest.mark.parametrize(
    ("entry", "suffix", "kind", "quality"),
    [
        ("width: 64", "_fw64.jpg", "jpeg", 84),
        ("width: 64, format: webp", "_fw64.webp", "webp", 84),
        ("width: 64, suffix: _small.avif", "_small.avif", "avif", 65),
        ("width: 64, suffix: _small, format: png", "_small", "png", 84),
        ("width: 64, suffix: _small.JPEG", "_small.JPEG", "jpeg", 84),
        ("format: avif, quality: 50", "_fw100.avif", "avif", 50),
    ],
)
def test_format_and_suffix_follow_from_one_another(entry: str, suffix: str, kind: str, quality: int) -> None:
    (resize,) = parse(f"resizes: [{{{entry}}}]").resizes
    assert (resize.suffix, resize.format, resize.quality) == (suffix, kind, quality)


def test_thumbnails_may_be_cut_or_filled_and_have_a_background() -> None:
    config = parse("background: '#0080ff'\nlinear: true\nresizes: [{width: 9, height: 5, fit: crop}]")
    assert config.recipe(config.resizes) == Recipe((Form(9, 5, "crop", quality=84),), "jpegli", (0, 128, 255), True)


def test_a_resize_may_have_a_quality_of_its_own() -> None:
    config = parse("quality: 90\nresizes: [{func: a, suffix: a}, {func: b, suffix: b, quality: 98}]")
    assert [resize.quality for resize in config.resizes] == [90, 98]


def test_the_limits_of_decoding_may_be_set() -> None:
    config = parse("decoding: {memory-megabytes: 800, cpu-seconds: 10, seconds: 40}")
    assert config.decoding == Limits(memory_bytes=800_000_000, cpu_seconds=10, seconds=40)


def test_a_step_may_be_run_elsewhere() -> None:
    config = parse("enable-guetzli: elsewhere\nenable-remove: elsewhere")
    assert (config.compress, config.remove) == ("elsewhere", "elsewhere")


def test_the_example_is_valid() -> None:
    config = load(EXAMPLE)
    assert len(config.resizes) == 4


@pytest.mark.parametrize(("text", "strip"), [("", "no"), ("no", "no"), ("'no'", "no"), ("gps", "gps"), ("all", "all")])
def test_what_is_taken_out_of_originals(text: str, strip: str) -> None:
    assert parse(f"strip-originals: {text}").strip == strip


def test_yaml_anchors_and_merges_work() -> None:
    config = parse("resizes: [&a {func: a, width: 7, suffix: a}, {<<: *a, func: b, suffix: b}]")
    assert [(resize.func, resize.width) for resize in config.resizes] == [("a", 7), ("b", 7)]


@pytest.mark.parametrize(
    ("text", "cache_ms"),
    [
        ("90", 90_000),
        ("1.5", 1500),
        ("'20s'", 20_000),
        ("15m", 900_000),
        ("12 h", 43_200_000),
        ("5d", 432_000_000),
        ("1h30m", 5_400_000),
        ("'90'", 90_000),
    ],
)
def test_durations(text: str, cache_ms: int) -> None:
    assert parse(f"cache: {text}").cache_ms == cache_ms


@pytest.mark.parametrize("path", ["/", "//", "photos/2024", "/photos/2024/"])
def test_slashes_around_the_root_path_do_not_matter(path: str) -> None:
    assert parse(f"bucket: {{root_path: '{path}'}}").bucket == DirectoryConfig(Path("bucket"), path.strip("/"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thraed: 2", "thraed: is not a known key; did you mean thread?"),
        ("enable-guetzly: true", "enable-guetzly: is not a known key; did you mean enable-guetzli?"),
        ("guetzli: {qualty: 95}", "guetzli.qualty: is not a known key; did you mean quality?"),
        ("resizes: [{func: a}, {func: b, widht: 3}]", "resizes[1].widht: is not a known key; did you mean width?"),
        ("bucket: {dir: x}", "bucket.dir: is not a known key; did you mean directory?"),
        ("zzz: 1", "zzz: is not a known key; they are "),
        ("7: 1", "7: is not a known key; they are"),
        ("thread: 1\nthread: 2", "thread: is given twice, the second time in line 2"),
        ("- a", "the file: must be a mapping of keys and values, not of type list"),
        ("guetzli: 7", "guetzli: must be a mapping of keys and values, not of type int"),
        ("resizes: {func: a}", "resizes: must be a list of 100 mappings at most, not {'func': 'a'}"),
        ("resizes: [7]", "resizes[0]: must be a mapping of keys and values, not of type int"),
        ("resizes: [{fit: crop}]", "resizes[0].height: is missing; fit: crop needs both sides"),
        ("resizes: [{fit: cover, height: 5}]", "resizes[0].fit: must be one of fit, fill, crop, not 'cover'"),
        ("resizes: [{format: gif}]", "resizes[0].format: must be one of jpeg, webp, avif, png, not 'gif'"),
        ("background: red", "background: must be a colour as in '#ffffff' (in quotes), not 'red'"),
        ("encoder: mozjpeg", "encoder: must be one of jpegli, guetzli, pillow, not 'mozjpeg'"),
        ("encoder: guetzli", "encoder: guetzli works in a step of its own; set enable-compress: true, or elsewhere"),
        ("enable-compress: true\nenable-guetzli: true", "enable-guetzli: is the original's name of enable-compress"),
        ("encoder: pillow\ncompress-originals: true", "compress-originals: pillow cannot do that; set encoder: jpegli"),
        ("resizes: [{func: compress}]", "resizes[0].func: compress is a function of its own"),
        ("then: finished", "then: finished is a function of its own; choose another name"),
        ("then: a\nresizes: [{func: a}]", "then: a makes thumbnails; name the function that is to be told"),
        ("then: ''", "then: must be a text"),
        ("resizes: [{func: upload}]", "resizes[0].func: upload is a function of its own; choose another name"),
        ("resizes: [{func: a}, {func: b}]", "resizes[1].suffix: '_fw100.jpg' is that of resizes[0]; give each its own"),
        ("resizes: [{func: a, suffix: a/b}]", "resizes[0].suffix: 'a/b' contains a /"),
        ("resizes: [{func: a, output: ../x}]", "resizes[0].output: the name '../x' has the part '..'"),
        ("resizes: [{func: a, output: /x}]", "resizes[0].output: the name '/x' is absolute"),
        ("resizes: [{func: a, width: 0}]", "resizes[0].width: must be an integer from 1 to 16,384, not 0"),
        ("resizes: [{func: a, width: 2.5}]", "resizes[0].width: must be an integer"),
        ("resizes: [{func: a, quality: 101}]", "resizes[0].quality: must be an integer from 1 to 100, not 101"),
        ("resizes: [{func: a, output: guetzli}]", "the output 'guetzli' is inside the output 'guetzli'"),
        ("guetzli: {quality: 83}", "guetzli.quality: must be an integer from 84 to 100, not 83"),
        (
            "guetzli: {time-limit: soon}",
            "guetzli.time-limit: must be a duration like 90s, 15m, 1h30m or 5d, not",
        ),
        ("guetzli: {max-megapixels: 0}", "guetzli.max-megapixels: must be a number of millions of pixels up to 1000"),
        ("thread: true", "thread: must be an integer from 1 to 1,000, not True"),
        ("thread: two", "thread: must be an integer from 1 to 1,000, not 'two'"),
        ("enable-save: 1", "enable-save: must be true or false, not 1"),
        ("enable-save: elsewhere", "enable-save: must be true or false, not 'elsewhere'"),
        ("enable-remove: perhaps", "enable-remove: must be true, false or elsewhere, not 'perhaps'"),
        ("root: 7", "root: must be a text, not 7"),
        ("cache: 0", "cache: must be from 1 to 315360000 seconds, not 0"),
        ("cache: true", "cache: must be a duration"),
        ("cache: -5d", "cache: must be a duration"),
        ("periodic: http://x", "periodic: 'http://x' is neither tcp://host:port nor unix:///path"),
        ("bucket: {root_path: ../x}", "bucket.root_path: the name '../x' has the part '..'"),
        ("bucket: {endpiont: x.aliyuncs.com}", "bucket.endpiont: is not a known key; did you mean endpoint?"),
        ("bucket: {directory: a, name: abc}", "bucket.directory: a bucket is either a directory or one of OSS; remove"),
        ("bucket: {directory: a, name: abc, wait-at-start: 3}", "OSS; remove this key, or name, wait-at-start"),
        (
            "bucket: {name: abc}",
            "bucket.access_id: is missing; give it, or key-file, or set the environment variable OSS_ACCESS_KEY_ID",
        ),
        (
            "bucket: {access_id: a}",
            "bucket.access_key: is missing; give it, or key-file, or set the environment variable OSS_ACCESS_KE",
        ),
        ("bucket: {access_id: a, access_key: b}", "bucket.name: is missing"),
        ("bucket: {access_id: a, access_key: b, name: abc}", "bucket.endpoint: is missing"),
        (
            "bucket: {access_id: a, access_key: b, name: abc, endpoint: cdn.example.com}",
            "bucket.region: is missing, and ",
        ),
        (
            "bucket: {name: Photos}",
            "bucket.name: must be 3 to 63 small letters, digits and inner hyphens, not 'Photos'",
        ),
        (
            "bucket: {endpoint: 'ftp://x'}",
            "bucket.endpoint: must be a host, as in oss-cn-hangzhou.aliyuncs.com, or its",
        ),
        ("bucket: {endpoint: x.com/photos}", "bucket.endpoint: must be a host"),
        ("bucket: {region: oss-cn-hangzhou}", "bucket.region: must be a region as in cn-hangzhou, without oss-, not"),
        (
            "bucket: {object-acl: public}",
            "bucket.object-acl: must be one of default, private, public-read, public-read-write",
        ),
        ('bucket: {cache-control: "a\\nb"}', "bucket.cache-control: must be a text of ASCII characters, as in max-age"),
        ("decoding: {memory-megabytes: 99}", "decoding.memory-megabytes: must be an integer from 100 to 1,000,000"),
        ("decoding: {cpu-seconds: 0}", "decoding.cpu-seconds: must be an integer from 1 to 3,600, not 0"),
        ("decoding: {seconds: 2m}", "decoding.seconds: must be an integer from 1 to 3,600, not '2m'"),
        ("decoding: {memory: 500}", "decoding.memory: is not a known key; did you mean memory-megabytes?"),
        ("bucket: {own-domain: cdn.example.com}", "bucket.own-domain: must be true or false, not 'cdn.example.com'"),
        (
            "bucket: {access_id: a, access_key: b, name: abc, endpoint: oss-cn-x.aliyuncs.com, own-domain: true}",
            "bucket.own-domain: https://oss-cn-x.aliyuncs.com is the vendor's; leave this key out",
        ),
        ("strip-originals: exif", "strip-originals: must be no, gps or all, not 'exif'"),
        ("enable-upload: false", "enable-upload: must be true or elsewhere, not False"),
        ("root: {directory: a, url: 's3://b'}", "root.url: is given, so remove directory"),
        ("root: s3://b/c?secret_access_key=x", "root.url: secret_access_key belongs into the file that key-file names"),
        ("bucket: {url: 'webdav://u:p@host/a'}", "bucket.url: a password belongs into the file that key-file names"),
        ("bucket: {url: pictures}", "bucket.url: must be a url as in s3://BUCKET/FOLDER?region=eu-central-1"),
        ("bucket: {url: 's3://b', object-acl: private}", "bucket.url: is given, so remove object-acl"),
        ("root: s3://b/c?region=x\nbucket: {url: 's3://b/c/d'}", "must not be inside one another"),
        (
            "bucket: {access_id: a, key-file: b, name: abc, endpoint: host}",
            "bucket.key-file: holds the key, so remove access_id",
        ),
        ("scratch: {megabytes: 1}", "scratch.megabytes: must be"),
        ("compress-originals: jpeg", "compress-originals: must be true or false, not 'jpeg'"),
        (
            "resizes: [{suffix: _64.png, format: webp}]",
            "resizes[0].suffix: '_64.png' is that of png, but format says webp",
        ),
        ("resizes: [{suffix: _64.html}]", "resizes[0].suffix: '_64.html' is that of text/html; use .jpg, .webp, .avif"),
        ("bucket: {signature: v2}", "bucket.signature: must be one of v4, v1, not 'v2'"),
        ("root: a\nbucket: {directory: a/b}", "must not be inside one another"),
        ("root: a/b\nbucket: {directory: a}", "must not be inside one another"),
        ("a: [", "is not YAML"),
        ("!!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)
def test_a_mistake_is_told_with_its_key(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert message in str(error.value)


def test_a_mistake_in_a_file_is_told_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    for content, message in [(b"thread: 0", "c.yml: thread: must be"), (b"\xff", "c.yml: is not a text in UTF-8")]:
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            load(path)
    with pytest.raises(ConfigError, match=r"missing\.yml: cannot be read: No such file or directory"):
        load(tmp_path / "missing.yml")


class TestOss:
    TEXT = "bucket: {access_id: the-id, access_key: the-secret, name: photos, endpoint: ENDPOINT, root_path: /a/}"

    def parsed(self, endpoint: str, more: str = "") -> OssConfig:
        bucket = parse(self.TEXT.replace("ENDPOINT", endpoint).replace("}", more + "}")).bucket
        assert isinstance(bucket, OssConfig)
        return bucket

    def test_the_original_s_keys_are_enough(self) -> None:
        assert self.parsed("oss-cn-hangzhou.aliyuncs.com") == OssConfig(
            access_id="the-id",
            access_key="the-secret",
            name="photos",
            endpoint="https://oss-cn-hangzhou.aliyuncs.com",
            region="cn-hangzhou",
            signature="v4",
            security_token=None,
            own_domain=False,
            cache_control=None,
            object_acl=None,
            wait_s=60,
            key_file=None,
            root_path="a",
        )

    @pytest.mark.parametrize(
        ("endpoint", "region"),
        [
            ("http://oss-cn-hangzhou-internal.aliyuncs.com/", "cn-hangzhou"),
            ("oss-us-west-1.aliyuncs.com", "us-west-1"),
            ("oss-cn-shanghai-finance-1-internal.aliyuncs.com", "cn-shanghai-finance-1"),
            ("oss-accelerate.aliyuncs.com", None),
            ("oss-accelerate-overseas.aliyuncs.com", None),
            ("photos.example.com", None),
            ("http://127.0.0.1:8080", None),
        ],
    )
    def test_the_region_is_told_by_the_vendor_s_endpoints_only(self, endpoint: str, region: str | None) -> None:
        assert self.parsed(endpoint, ", signature: v1").region == region

    def test_a_given_region_counts(self) -> None:
        assert self.parsed("oss-cn-hzfinance.aliyuncs.com", ", region: cn-hangzhou").region == "cn-hangzhou"

    def test_the_key_may_come_from_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OSS_ACCESS_KEY_ID", "other-id")
        monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "other-secret")
        bucket = parse("bucket: {access_id: the-id, name: photos, endpoint: oss-cn-hangzhou.aliyuncs.com}").bucket
        assert isinstance(bucket, OssConfig)
        assert (bucket.access_id, bucket.access_key) == ("the-id", "other-secret"), "the file comes first"

    def test_a_lent_key_s_token_may_come_from_the_environment_with_its_key(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OSS_ACCESS_KEY_ID", "lent-id")
        monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "lent-secret")
        monkeypatch.setenv("OSS_SESSION_TOKEN", "the-token")
        bucket = parse("bucket: {name: photos, endpoint: oss-cn-hangzhou.aliyuncs.com}").bucket
        assert isinstance(bucket, OssConfig)
        assert (bucket.access_id, bucket.security_token) == ("lent-id", "the-token")
        assert "the-token" not in repr(bucket)
        assert self.parsed("oss-cn-hangzhou.aliyuncs.com").security_token is None, "it belongs to another key"
        assert self.parsed("oss-cn-hangzhou.aliyuncs.com", ", security_token: other").security_token is not None

    def test_the_environment_alone_asks_for_no_bucket_of_oss(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OSS_ACCESS_KEY_ID", "other-id")
        assert isinstance(parse("").bucket, DirectoryConfig)

    @pytest.mark.parametrize(
        "text",
        [
            "bucket: {access_id: a, access_key: the-secret}",
            "bucket: {access_key: the-secret with spaces}",
            "bucket: {access_key: [the-secret]}",
            "bucket: [the-secret]",
            "- bucket: {access_key: the-secret}",
            "bucket:\n  access_key: the-secret: x",
            "bucket:\n  access_key: 'the-secret",
        ],
    )
    def test_no_mistake_makes_the_secret_part_of_a_message(self, text: str) -> None:
        with pytest.raises(ConfigError) as error:
            parse(text)
        assert "the-secret" not in str(error.value)

    def test_nor_does_a_bad_one_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OSS_ACCESS_KEY_SECRET", "the-secret\n")
        with pytest.raises(ConfigError, match=r"^OSS_ACCESS_KEY_SECRET: must be a text of ASCII") as error:
            parse("bucket: {access_id: a, name: photos}")
        assert "the-secret" not in str(error.value)

    def test_the_secret_is_not_shown_with_the_configuration(self) -> None:
        config = parse(self.TEXT.replace("ENDPOINT", "oss-cn-hangzhou.aliyuncs.com"))
        assert "the-id" in repr(config)
        assert "the-secret" not in repr(config)


def test_every_key_of_the_example_is_known_and_every_key_is_in_it() -> None:
    """The example explains each key; what it leaves at its default stands behind a #."""
    text = EXAMPLE.read_text()
    for kind in (Config, ResizeConfig, GuetzliConfig, DecodingConfig, ScratchConfig, StoreKeys, ServeConfig, Rate):
        for each in fields_of(kind):
            assert re.search(rf"^[#\s]*(- \{{.*|[a-z-]+: \{{.*)?\b{re.escape(each.name)}: ", text, re.MULTILINE) or (
                f"\n{each.name}:\n" in text
            ), each.name


def test_no_section_shows_what_may_be_secret() -> None:
    assert "the-secret" not in repr(StoreKeys(access_key="the-secret"))


def test_a_configuration_cannot_be_changed() -> None:
    config: Config = parse("")
    with pytest.raises(AttributeError):
        config.thread = 3  # type: ignore[misc]

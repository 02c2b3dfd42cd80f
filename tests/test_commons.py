"""Training pictures come from a folder or from Commons, politely, under free licences, and never from the test."""

import csv
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import numpy as np
import pytest
from PIL import Image

from helpers.domains import commons
from helpers.domains.commons import Manners, Stopped, fetch_images, give_images, licence_family, read_attribution
from helpers.schemas import ClassText

AGENT = "study/1.0 (me@example.org)"


def photograph(seed: int) -> Image.Image:
    """Smooth random colours: pictures of different seeds have different hashes."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((96, 96), Image.Resampling.BICUBIC)


def as_bytes(image: Image.Image, kind: str = "JPEG") -> bytes:
    file = BytesIO()
    image.save(file, kind, quality=85)
    return file.getvalue()


def page(server, title: str, path: str, licence: str = "CC BY-SA 4.0", code: str = "cc-by-sa-4.0", index: int = 1):
    meta = {"LicenseShortName": {"value": licence}, "License": {"value": code}}
    meta["Artist"] = {"value": '<a href="//x">Kim &amp; Lee</a>'}
    about = f"https://commons.wikimedia.org/wiki/{title}"
    info = {"thumburl": server.url + path, "descriptionurl": about, "extmetadata": meta}
    return {"title": title, "index": index, "imageinfo": [info]}


@pytest.fixture
def server():
    """A server that answers like the API; ``pages`` by search words, ``files`` by path, ``faults`` before an answer."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            own = self.server
            own.asked.append((self.path, dict(self.headers)))
            path = urlsplit(self.path).path
            if own.faults.get(path):
                status, headers = own.faults[path].pop(0)
                return self.reply(status, b"", headers)
            if path == "/w/api.php":
                words = parse_qs(urlsplit(self.path).query)["gsrsearch"][0].removesuffix(" filetype:bitmap")
                found = (
                    {"query": {"pages": own.pages.get(words, [])}} if own.pages.get(words) else {"batchcomplete": True}
                )
                return self.reply(200, json.dumps(own.errors.pop(0) if own.errors else found).encode(), {})
            return self.reply(200 if path in own.files else 404, own.files.get(path, b""), {})

        def reply(self, status, content, headers):
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        running.asked, running.pages, running.files, running.faults, running.errors = [], {}, {}, {}, []
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def manners(server):
    def make(**changes):
        settings = {"requests_per_second": 1000.0, "sleep": lambda _: None, "allow_private": True, "tries": 3}
        return Manners(AGENT, api=f"{server.url}/w/api.php", **settings | changes)

    return make


def asked_for(server, path):
    return [one for one, _ in server.asked if urlsplit(one).path == path]


def test_a_picture_is_taken_with_its_attribution_and_by_name_of_the_one_who_asks(server, manners, tmp_path):
    server.pages["한복"] = [page(server, "File:Hanbok.jpg", "/h.jpg")]
    server.files["/h.jpg"] = as_bytes(photograph(1))
    found = fetch_images(["한복"], tmp_path, [], manners())
    assert found.missing == {}
    (row,) = csv.DictReader((tmp_path / "attribution.csv").read_text(encoding="utf-8").splitlines())
    assert (row["keyword"], row["file"], row["title"]) == ("한복", "한복.jpg", "File:Hanbok.jpg")
    assert (row["author"], row["licence"]) == ("Kim & Lee", "CC BY-SA 4.0")
    assert row["url"] == "https://commons.wikimedia.org/wiki/File:Hanbok.jpg"
    assert (tmp_path / "한복.jpg").read_bytes() == server.files["/h.jpg"]
    assert all(headers["User-Agent"] == AGENT for _, headers in server.asked)
    query = parse_qs(urlsplit(server.asked[0][0]).query)
    assert (query["iiurlwidth"], query["generator"]) == (["960"], ["search"])


def test_what_may_not_be_taken_is_passed_over_and_said(server, manners, tmp_path):
    test = tmp_path / "test.png"
    photograph(7).resize((300, 300)).save(test)  # the same picture in another size and format
    server.pages["gim"] = [
        page(server, "File:Good.jpg", "/good.jpg", index=6),
        page(server, "File:NonFree.jpg", "/good.jpg", "CC BY-NC 2.0", "cc-by-nc-2.0", index=1),
        page(server, "File:Unknown.jpg", "/good.jpg", "", "", index=2),
        page(server, "File:Broken.jpg", "/broken.jpg", index=3),
        page(server, "File:Gone.jpg", "/gone.jpg", index=4),
        page(server, "File:Test.jpg", "/test.jpg", index=5),
    ]
    server.pages["only test"] = [page(server, "File:Test.jpg", "/test.jpg")]
    server.files |= {"/good.jpg": as_bytes(photograph(1)), "/test.jpg": as_bytes(photograph(7))}
    server.files["/broken.jpg"] = server.files["/good.jpg"][:500]
    found = fetch_images(["gim", "only test", "nothing"], tmp_path / "new", [test], manners())
    assert [row.title for row in found.images] == ["File:Good.jpg"]
    assert found.missing == {
        "only test": "File:Test.jpg: looks like a test image",
        "nothing": "the search found no image",
    }
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["attribution.csv", "gim.jpg"]


def test_a_busy_server_is_waited_for_as_long_as_it_asks(server, manners, tmp_path):
    server.pages["a"] = [page(server, "File:A.jpg", "/a.jpg")]
    server.files["/a.jpg"] = as_bytes(photograph(1))
    server.faults["/w/api.php"] = [(429, {"Retry-After": "17"}), (500, {})]
    server.faults["/a.jpg"] = [(503, {"Retry-After": "5"})]
    pauses = []
    assert fetch_images(["a"], tmp_path, [], manners(sleep=pauses.append)).images
    assert [pause for pause in pauses if pause >= 1] == [17, 2, 5]


@pytest.mark.parametrize("given", ["soon", "\u00b2", "Wed, 25 Nov 2026 10:00:00 -0000", f"1 Jan {10**12} 10:00:00 GMT"])
def test_a_pause_that_cannot_be_read_is_none(server, manners, tmp_path, given):
    server.pages["a"] = [page(server, "File:A.jpg", "/a.jpg")]
    server.files["/a.jpg"] = as_bytes(photograph(1))
    server.faults["/w/api.php"] = [(429, {"Retry-After": given})]
    pauses = []
    assert fetch_images(["a"], tmp_path, [], manners(sleep=pauses.append)).images
    assert [pause for pause in pauses if pause >= 1] == [1]


def test_the_api_that_says_200_but_lags_is_asked_again(server, manners, tmp_path):
    server.pages["a"] = [page(server, "File:A.jpg", "/a.jpg")]
    server.files["/a.jpg"] = as_bytes(photograph(1))
    server.errors.append({"error": {"code": "maxlag"}})
    assert fetch_images(["a"], tmp_path, [], manners()).images


def test_an_answer_of_another_form_than_the_apis_stops_the_search(server, manners, tmp_path):
    server.errors.append([1])
    with pytest.raises(httpx.DecodingError, match=r"api\.php answered with b'\[1\]'"):
        fetch_images(["a"], tmp_path, [], manners())
    assert list(tmp_path.rglob("*.jpg")) == []


def test_an_hour_is_not_waited_and_what_is_there_is_not_asked_again(server, manners, tmp_path):
    for number, name in enumerate("ab"):
        server.pages[name] = [page(server, f"File:{name}.jpg", f"/{name}.jpg")]
        server.files[f"/{name}.jpg"] = as_bytes(photograph(number))
    server.faults["/b.jpg"] = [(429, {"Retry-After": "3600"})]
    with pytest.raises(Stopped, match="asks to wait 3600 s"):
        fetch_images(["a", "b"], tmp_path, [], manners())
    server.asked.clear()
    found = fetch_images(["a", "b"], tmp_path, [], manners())
    assert {row.keyword for row in found.images} == {"a", "b"}
    assert not asked_for(server, "/a.jpg")
    server.asked.clear()
    assert fetch_images(["a", "b"], tmp_path, [], manners()) == found
    assert server.asked == []


def test_an_empty_keyword_is_refused_before_anyone_is_asked(server, manners, tmp_path):
    with pytest.raises(ValueError, match="keyword ' ' is empty; leave it out"):
        fetch_images(["a", " "], tmp_path, [], manners())
    assert server.asked == []


@pytest.mark.parametrize("peer", ["10.0.0.1", "169.254.169.254", "::1"])
def test_a_name_that_led_to_a_private_address_after_all_is_found_out(peer):
    class Stream:
        def get_extra_info(self, _):
            return (peer, 80)

    response = httpx.Response(
        200, extensions={"network_stream": Stream()}, request=httpx.Request("GET", "http://x.org")
    )
    with commons._Commons(Manners(AGENT)) as asked, pytest.raises(httpx.UnsupportedProtocol, match="private network"):
        asked._check_peer(response)


def test_a_name_that_cannot_be_found_is_said(monkeypatch, tmp_path):
    def unknown(*_, **__):
        raise OSError("no such name")

    monkeypatch.setattr(commons.socket, "getaddrinfo", unknown)
    with pytest.raises(httpx.ConnectError, match="cannot be found"):
        fetch_images(["a"], tmp_path, [], Manners(AGENT, tries=1))


def test_one_picture_is_not_taken_for_two_keywords(server, manners, tmp_path):
    server.files["/a.jpg"] = as_bytes(photograph(1))
    server.pages |= {name: [page(server, "File:A.jpg", "/a.jpg")] for name in "ab"}
    assert fetch_images(["a", "b"], tmp_path, [], manners()).missing == {
        "b": "File:A.jpg: already taken for another keyword"
    }


def test_a_picture_too_large_is_refused_whatever_its_header_says(server, manners, tmp_path):
    server.pages["a"] = [page(server, "File:A.jpg", "/a.jpg")]
    server.files["/a.jpg"] = as_bytes(photograph(1))
    assert "larger than 100 bytes" in fetch_images(["a"], tmp_path, [], manners(largest=100)).missing["a"]


def test_private_addresses_and_other_schemes_are_never_asked(server, manners, tmp_path):
    with pytest.raises(httpx.UnsupportedProtocol, match="private network"):
        fetch_images(["a"], tmp_path, [], manners(allow_private=False))
    assert server.asked == []
    server.pages["a"] = [page(server, "File:A.jpg", "/a.jpg")]
    server.pages["a"][0]["imageinfo"][0]["thumburl"] = "file:///etc/passwd"
    assert "only http and https" in fetch_images(["a"], tmp_path, [], manners()).missing["a"]


def test_a_redirect_is_checked_too(server, manners, tmp_path):
    server.pages["a"] = [page(server, "File:A.jpg", "/a.jpg")]
    server.faults["/a.jpg"] = [(302, {"Location": "ftp://example.org/a.jpg"})]
    assert "http" in fetch_images(["a"], tmp_path, [], manners()).missing["a"]


def test_requests_keep_their_distance(server, manners, tmp_path):
    pauses = []
    fetch_images(["a", "b", "c"], tmp_path, [], manners(requests_per_second=0.5, sleep=pauses.append))
    assert len(pauses) == 2
    assert all(1.5 < pause <= 2 for pause in pauses)


@pytest.mark.parametrize(
    ("licence", "family"),
    [
        ("CC0", "CC0"),
        ("Public domain", "PD"),
        ("pd-old-100", "PD"),
        ("CC BY 2.0", "CC BY"),
        ("cc-by-sa-3.0-de", "CC BY-SA"),
        ("cc-by-sa-3.0,2.5,2.0,1.0", "CC BY-SA"),
        ("CC BY-NC-SA 4.0", None),
        ("CC BY-ND 4.0", None),
        ("GFDL", None),
        ("", None),
        ("pdx", None),
    ],
)
def test_licences_are_sorted_into_families(licence, family):
    assert licence_family(licence) == family


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"user_agent": "python"}, "a way to reach you"),
        ({"user_agent": AGENT, "licences": ["CC BY-NC"]}, "known: CC0, PD"),
        ({"user_agent": AGENT, "width": 0}, "above 0"),
    ],
)
def test_bad_manners_are_refused(changes, rule):
    with pytest.raises(ValueError, match=rule):
        Manners(**changes)


def test_keywords_with_one_file_name_are_refused(manners, tmp_path):
    with pytest.raises(ValueError, match="have the same file name"):
        fetch_images(["a/b", "A_b"], tmp_path, [], manners())


def test_a_spoilt_attribution_is_named(tmp_path):
    (tmp_path / "attribution.csv").write_text("keyword,file\na,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"attribution\.csv: the columns must be keyword"):
        read_attribution(tmp_path)


def text(class_id: str, name: str, wording: int = 0, image: str | None = None) -> ClassText:
    given = {"domain": "kviscuit", "appearance": "Red.", "background": "Old.", "writer": "offline"}
    return ClassText(class_id=class_id, name=name, wording=wording, image=image, **given)


def test_pictures_of_a_folder_go_to_the_classes_that_have_none(tmp_path):
    source, target = tmp_path / "source", tmp_path / "set"
    (source / "Kimchi").mkdir(parents=True)
    for number, name in enumerate(("Kimchi/1.png", "Kimchi/2.png", "한복.png", "Other.png")):
        photograph(number).save(source / name)
    (source / "attribution.csv").write_text("kept\n", encoding="utf-8")
    texts = [text("k1", "kimchi", 0), text("k1", "kimchi", 1), text("한복", "x"), text("none", "none")]
    texts.append(text("Other", "y", image="own.png"))
    given = [one.image for one in give_images(texts, source, target)]
    train = "pictures/train"
    assert given == [f"{train}/k1-0.png", f"{train}/k1-1.png", f"{train}/한복-0.png", None, "own.png"]
    assert (target / given[1]).read_bytes() == (source / "Kimchi" / "2.png").read_bytes()
    assert (target / "attribution.csv").read_text(encoding="utf-8") == "kept\n"


def test_a_folder_that_is_not_there_and_a_broken_picture_are_named(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        list(give_images([], tmp_path / "none", tmp_path))
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"a\.jpg: not a readable image"):
        list(give_images([text("a", "a")], tmp_path, tmp_path / "set"))


def test_several_pictures_of_a_class_are_fetched_once_each_and_a_stopped_run_goes_on(server, manners, tmp_path):
    server.pages['"Vanessa"'] = [page(server, f"File:{n}.jpg", f"/{n}.jpg", index=n) for n in range(4)]
    server.pages['"Vanessa"'][1] = page(server, "File:1.jpg", "/1.jpg", "CC BY-NC 2.0", "cc-by-nc-2.0", index=1)
    server.files |= {f"/{n}.jpg": as_bytes(photograph(n)) for n in range(4)}
    found = commons.fetch_several({"Red Admiral": '"Vanessa"', "Nobody": '"Nemo"'}, 2, tmp_path, manners())
    assert [row.file for row in found.images] == ["Red Admiral/0.jpg", "Red Admiral/1.jpg"]
    assert [row.title for row in found.images] == ["File:0.jpg", "File:2.jpg"]
    assert found.missing == {"Nobody": "the search found no further image"}
    (tmp_path / "Red Admiral/0.jpg").unlink()
    server.asked.clear()
    again = commons.fetch_several({"Red Admiral": '"Vanessa"'}, 3, tmp_path, manners())
    assert [row.file for row in again.images] == ["Red Admiral/0.jpg", "Red Admiral/1.jpg"]
    assert again.missing["Red Admiral"].startswith("File:1.jpg: licence CC BY-NC")

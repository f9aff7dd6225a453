"""What a web page can make a browser send is refused, by every service; what AWS clients send is not."""

from __future__ import annotations

import http.client
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from playwright.sync_api import Browser, Page, Response, sync_playwright

from local_aws.server import LocalAws

BUCKET, FUNCTION = "safety", "safety"
INVOKE = f"/2015-03-31/functions/{FUNCTION}/invocations"
FOREIGN_NAME = "rebound.example"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)

REQUESTS = {
    "Lambda invocation": ("POST", INVOKE),
    "function URL": ("GET", "/_aws/lambda-url/{url_id}/"),
    "object": ("GET", f"/{BUCKET}/page.html"),
    "upload": ("PUT", f"/{BUCKET}/uploaded"),
    "form upload": ("POST", f"/{BUCKET}"),
    "JSON API": ("POST", "/"),
    "health": ("GET", "/_ministack/health"),
    "reset": ("POST", "/_ministack/reset"),
    "function code": ("GET", f"/_ministack/lambda-code/000000000000/us-west-2/{FUNCTION}"),
    "request counts": ("DELETE", "/_local_aws/requests"),
    "preflight of an object": ("OPTIONS", f"/{BUCKET}/page.html"),
    "preflight of Lambda": ("OPTIONS", INVOKE),
}
FOREIGN = {
    "another port": {"Origin": "http://127.0.0.1:9"},
    "another name of this machine": {"Origin": "http://localhost:{port}"},
    "another site": {"Origin": "https://example.com"},
    "a sandboxed frame or a file": {"Origin": "null"},
    "two origins": {"Origin": "http://{host}", "origin": "https://example.com"},
    "a link or image of another site": {"Sec-Fetch-Site": "cross-site"},
    "a link or image of another port": {"Sec-Fetch-Site": "same-site"},
    "a rebound name": {"Host": "rebound.example:{port}"},
    "a rebound name with an own origin": {"Host": "rebound.example", "Origin": "http://rebound.example"},
    "a name that only begins like ours": {"Host": "localhost.example.com"},
    "a bucket's name at AWS": {"Host": "safety.s3.amazonaws.com"},
    "no name": {"Host": ""},
}


@pytest.fixture(scope="module")
def function_url(aws: LocalAws) -> str:
    """A bucket with a page, and a function that leaves an object when it runs; its URL's id."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket=BUCKET, Key="page.html", Body=b"<p>A report</p>", ContentType="text/html")
    source = f"""
import boto3
def handler(event, context):
    boto3.client("s3").put_object(Bucket="{BUCKET}", Key="ran")
    return {{"statusCode": 200, "body": "ran"}}
"""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("index.py", source)
    functions = aws.client("lambda")
    functions.create_function(
        FunctionName=FUNCTION,
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="index.handler",
        Code={"ZipFile": code.getvalue()},
    )
    url = functions.create_function_url_config(FunctionName=FUNCTION, AuthType="NONE")["FunctionUrl"]
    return str(urlsplit(url).netloc.split(".")[0])


def keys(aws: LocalAws) -> list[str]:
    return [entry["Key"] for entry in aws.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]


def status(aws: LocalAws, method: str, path: str, headers: dict[str, str]) -> int:
    """The answer to a request with these headers, Host among them unless it is left to the client."""
    connection = http.client.HTTPConnection(urlsplit(aws.endpoint_url).netloc)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in {**headers, "Content-Length": "0"}.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse().status


@pytest.mark.parametrize("request_kind", REQUESTS)
def test_no_service_answers_a_foreign_page(aws: LocalAws, function_url: str, request_kind: str) -> None:
    method, path = REQUESTS[request_kind]
    path = path.format(url_id=function_url)
    host = urlsplit(aws.endpoint_url).netloc
    answers = {}
    for kind, headers in FOREIGN.items():
        given = {k: v.format(host=host, port=host.partition(":")[2]) for k, v in headers.items()}
        answers[kind] = status(aws, method, path, given)
    assert answers == dict.fromkeys(FOREIGN, 403)
    assert keys(aws) == ["page.html"]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "[::1]", "s3.us-west-2.localhost"])
def test_every_name_of_loopback_is_answered(aws: LocalAws, name: str) -> None:
    host = f"{name}:{urlsplit(aws.endpoint_url).port}"
    for headers in (
        {},
        {"Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ):
        assert status(aws, "GET", "/_ministack/health", {"Host": host, **headers}) == 200


def test_a_buckets_host_below_localhost_is_its_bucket(aws: LocalAws, function_url: str) -> None:
    for name in (f"{BUCKET}.localhost", f"{BUCKET}.s3.localhost", f"{BUCKET}.s3.us-west-2.localhost"):
        assert status(aws, "GET", "/page.html", {"Host": name}) == 200
        assert status(aws, "GET", "/missing", {"Host": name}) == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_boto3_and_the_command_line_work_by_either_name(aws: LocalAws, function_url: str, host: str) -> None:
    endpoint = f"http://{host}:{urlsplit(aws.endpoint_url).port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-west-2",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    assert client.get_object(Bucket=BUCKET, Key="page.html")["Body"].read() == b"<p>A report</p>"
    listed = subprocess.run(
        [Path(sys.executable).with_name("aws"), "s3api", "list-objects-v2", "--bucket", BUCKET],
        env={**os.environ, **aws.environment, "AWS_ENDPOINT_URL": endpoint},
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 0, listed.stderr
    assert "page.html" in [entry["Key"] for entry in json.loads(listed.stdout)["Contents"]]


# --- A real browser ---


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for which one foreign name leads to this machine, as after DNS rebinding."""
    if CHROMIUM is None:
        pytest.skip("No Chromium: `make browser` installs one; or name it: CHROMIUM=/path/to/chrome")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {FOREIGN_NAME} 127.0.0.1"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield started
        started.close()


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    """Another server of this machine, which serves an empty page."""

    class EmptyPage(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


ATTACK = """async ([endpoint, invoke, url_id, bucket]) => {
    const tried = (path, options) => fetch(endpoint + path, options).catch(() => null);
    await tried(invoke, {method: 'POST', mode: 'no-cors', body: '{}'});
    await tried(invoke, {method: 'POST', headers: {'X-Amz-Invocation-Type': 'Event'}, body: '{}'});
    await tried('/_aws/lambda-url/' + url_id + '/', {mode: 'no-cors'});
    await tried('/' + bucket + '/page.html', {});
    await tried('/' + bucket + '/planted', {method: 'PUT', body: 'x'});
    await tried('/_ministack/reset', {method: 'POST', mode: 'no-cors'});
    await new Promise((done) => {
        const image = new Image();
        image.onload = image.onerror = done;
        image.src = endpoint + '/_aws/lambda-url/' + url_id + '/image';
    });
}"""


def answers_to(page: Page, endpoint: str) -> list[tuple[str, int]]:
    """Filled with (path, status) of what the page's browser sends to the endpoint."""
    seen: list[tuple[str, int]] = []

    def note(response: Response) -> None:
        if response.url.startswith(endpoint) and "favicon" not in response.url:
            seen.append((urlsplit(response.url).path, response.status))

    page.on("response", note)
    return seen


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", FOREIGN_NAME])
def test_a_page_of_another_server_reaches_nothing(
    aws: LocalAws, browser: Browser, function_url: str, foreign_port: int, name: str
) -> None:
    page = browser.new_page()
    seen = answers_to(page, aws.endpoint_url)
    page.goto(f"http://{name}:{foreign_port}/")
    page.evaluate(ATTACK, [aws.endpoint_url, INVOKE, function_url, BUCKET])
    page.set_content(f'<form method="post" action="{aws.endpoint_url}{INVOKE}"><input name="a"></form>')
    with page.expect_navigation():
        page.evaluate("document.forms[0].submit()")
    page.close()
    assert len(seen) >= 5
    assert {answer for _, answer in seen} == {403}, seen
    assert keys(aws) == ["page.html"]


def test_a_page_of_another_server_reads_nothing_that_the_browser_has_kept(
    aws: LocalAws, browser: Browser, function_url: str, foreign_port: int
) -> None:
    opened = f"{aws.endpoint_url}/{BUCKET}/page.html"
    page = browser.new_page()
    page.goto(opened)
    page.goto(f"http://127.0.0.1:{foreign_port}/")
    read = "url => fetch(url, {cache: 'force-cache'}).then(answer => answer.text()).catch(() => 'nothing')"
    found = page.evaluate(read, opened)
    page.close()
    assert found == "nothing"


def test_a_rebound_name_reaches_nothing(aws: LocalAws, browser: Browser, function_url: str) -> None:
    rebound = aws.endpoint_url.replace("127.0.0.1", FOREIGN_NAME)
    page = browser.new_page()
    seen = answers_to(page, rebound)
    page.goto(f"{rebound}/{BUCKET}/page.html")
    page.evaluate(ATTACK, [rebound, INVOKE, function_url, BUCKET])
    page.close()
    assert len(seen) >= 7
    assert {answer for _, answer in seen} == {403}, seen
    assert keys(aws) == ["page.html"]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_an_object_can_be_looked_at_in_a_browser(
    aws: LocalAws, browser: Browser, function_url: str, name: str
) -> None:
    page = browser.new_page()
    page.goto(f"{aws.endpoint_url.replace('127.0.0.1', name)}/{BUCKET}/page.html")
    assert page.inner_text("p") == "A report"
    fetched = page.evaluate("fetch('page.html').then((answer) => answer.text())")
    posted = page.evaluate("fetch('/_missing', {method: 'POST', body: 'x'}).then((answer) => answer.status)")
    page.close()
    assert fetched == "<p>A report</p>"
    assert posted != 403

"""The console shows the server at work, changes what it serves, and says in one sentence what is wrong with it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.browser.console_page import ConsolePage, console_of
from tests.e2e.forked_server import ForkedServer
from tests.repositories import add_version

pytestmark = pytest.mark.needs(program="playwright")
Open = Callable[..., ConsolePage]
TOKENS = "visitor infer the-token-of-a-visitor\noperator admin the-token-of-an-operator\n"
MARKUP = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def root(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with two versions, whose labels are markup."""
    root = tmp_path_factory.mktemp("repository")
    for version in (1, 2):
        add_version(repository / "lenet" / "1", root, "digits", version, f"{MARKUP} {version}: ")
    (root / "digits" / "config.toml").write_text('versions = "all"\n')
    return root


@pytest.fixture
def guarded(root: Path, tmp_path: Path) -> Iterator[str]:
    """The console of a server that asks for tokens."""
    (tmp_path / "tokens").write_text(TOKENS)
    options = ("--token-file", str(tmp_path / "tokens"), "--insecure", "--http-port", "0")
    with ForkedServer("--repository", str(root), *options) as server:
        yield console_of(server)


def test_the_plots_and_their_table_show_what_was_answered(open_console: Open, console_url: str, pictures: Path) -> None:
    console = open_console(console_url, viewport={"width": 1440, "height": 900})
    console.expect(".plot-value >> nth=0").to_have_text("0/s")
    console.find("#target").select_option(label="lenet")
    console.pick(*[pictures / "digits" / "7.png"] * 20)
    console.expect("svg[aria-label^='Time in the server'] path.line-0").to_have_attribute("d", re.compile("M"))
    console.find(".as-table summary").click()
    assert "Images answered a second" in console.text("#figures")
    assert re.search(r"cpu.*\d % busy", console.text("#devices"), re.DOTALL)


def test_models_are_unloaded_and_loaded_with_an_admin_token_only(open_console: Open, guarded: str) -> None:
    console = open_guarded(open_console, guarded)
    unload_version_1(console)
    console.expect("#models-message").to_contain_text("was refused.")
    console.expect("#models-message").to_contain_text("Type an admin token above.")
    console.find("#admin-token").fill("the-token-of-an-operator")
    unload_version_1(console)
    console.expect("#models-message").to_have_text("Unload: digits, version 1 is done.")
    console.expect(".state-unloaded").to_have_count(1)
    console.find("[aria-label='Load digits']").click()
    console.expect("#models-message").to_have_text("Load: digits is done.")
    console.expect(".state-ready").to_have_count(2)
    console.find("[aria-label='Make default digits, version 1']").click()
    console.expect(".version").to_contain_text(["default", "ready"])
    console.close_after("status of 40[13]")


def open_guarded(open_console: Open, url: str) -> ConsolePage:
    """Opens the console of a server with tokens: it refuses an unknown one, and takes one with the right infer."""
    console = open_console(url, "#infer-form:visible")
    console.expect("#trouble").to_have_text(re.compile("^The server asks for a token."))
    use_token(console, "an-unknown-token")
    console.expect("#infer-form").to_be_visible()
    use_token(console, "the-token-of-a-visitor")
    console.expect("#infer-form").to_be_hidden()
    console.expect("#trouble").to_be_hidden()
    return console


def use_token(console: ConsolePage, token: str) -> None:
    console.find("#infer-token").fill(token)
    with console.page.expect_response(re.compile("/v1/models$")):
        console.find("#infer-form button").click()


def unload_version_1(console: ConsolePage) -> None:
    console.find("[aria-label='Unload digits, version 1']").click()
    console.expect("#confirm").to_be_visible()
    console.find("#confirm .danger").click()


def test_what_was_asked_before_it_was_refused_is_kept_after_a_change_of_mind(
    open_console: Open, console_url: str
) -> None:
    console = open_console(console_url)
    console.find("[aria-label='Unload lenet']").click()
    console.find("#confirm button >> nth=0").click()
    console.expect("#confirm").to_be_hidden()
    console.expect(".state-ready").to_have_count(2)


def test_a_label_is_never_taken_for_markup(open_console: Open, root: Path, pictures: Path) -> None:
    with ForkedServer("--repository", str(root), "--http-port", "0") as server:
        console = open_console(console_of(server))
        console.find("#target").select_option(label="digits, version 1")
        console.find("#other-target").select_option(label="digits, version 2")
        console.pick(pictures / "digits" / "7.png")
        assert console.labels() == [f"{MARKUP} 1: 7", f"{MARKUP} 2: 7"]
        assert console.find("main img").count() == 1 and console.page.title() == "Linnaeus"
        console.close()


def test_a_server_that_went_away_is_told_in_a_sentence_and_the_page_goes_on_with_the_next_one(
    open_console: Open, root: Path, pictures: Path
) -> None:
    with ForkedServer("--repository", str(root), "--http-port", "0") as server:
        url = console_of(server)
        console = open_console(url)
    console.expect("#trouble").to_have_text(
        "The server does not answer. This page asks again every two seconds and goes on by itself."
    )
    console.pick(pictures / "digits" / "7.png")
    console.expect(".answer .error").to_contain_text("The server cannot be reached")
    port = url.rstrip("/").rpartition(":")[2]
    with ForkedServer("--repository", str(root), "--http-port", port):
        console.expect("#trouble").to_be_hidden()
        console.expect(".headline-label").to_contain_text("7")
        console.close_after("ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_SOCKET")

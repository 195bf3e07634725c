"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import shutil

import pytest

from spacy_birnn.serving.analysis import Analyzer, Query

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="There is no `chromium` to test the page in"
)
TEXT = "Anna Berg flew from Oslo to New York ."
SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=alert(1)> & Oslo"
PHONE = {"width": 360, "height": 640}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pipeline(reference, reload):
    nlp = reload(reference)
    # Less certain than training has made it
    nlp.get_pipe("birnn_ner").temperature = 4.0
    nlp.get_pipe("birnn_ner").threshold = 0.4
    nlp.add_pipe("serving_gate")
    return nlp


@pytest.fixture(scope="module")
def url(serve, pipeline):
    with serve(pipeline) as address:
        yield address


@pytest.fixture
def open_page(browser, url):
    """Open the page, in which nothing may go wrong unseen."""
    contexts, faults = [], []

    def open_at(address=url, **settings):
        contexts.append(browser.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        # Of refusals, which the page tells the user of, the browser writes by itself
        page.on(
            "console",
            lambda message: (
                None if "the server responded" in message.text else faults.append(message.text)
            ),
        )
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        page.locator("#components:not(:empty)").wait_for()
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def page(open_page):
    return open_page()


def read(page, text):
    page.locator("#text").fill(text)
    page.locator("#analyze").click()
    page.locator("#status:empty").wait_for(state="attached")
    page.locator("#words .token").first.wait_for()


def shown(page):
    """The words of each entity, and its label with the confidence."""
    return [
        (
            "".join(mark.locator(".token").all_inner_texts()),
            mark.locator(".name").inner_text(),
        )
        for mark in page.locator("mark.entity").all()
    ]


def expected(doc):
    return [(ent.text.replace(" ", ""), f"{ent.label_} {ent._.confidence:.2f}") for ent in doc.ents]


def test_typed_text_becomes_entities_and_categories(page, reference, pipeline):
    page.locator("#text").type(TEXT)
    page.keyboard.press("Control+Enter")
    page.locator("mark.entity").first.wait_for()
    assert page.locator("#words").inner_text().startswith("Anna Berg")
    found = shown(page)
    assert ("NewYork", "GPE") in [(words, name.split()[0]) for words, name in found]
    cats = page.locator("#categories > span").all_inner_texts()
    assert dict(zip(cats[::2], cats[1::2])).keys() == reference(TEXT).cats.keys()
    weights = page.locator("#attention small").all_inner_texts()
    assert len(weights) == 9 and sum(map(float, weights)) == pytest.approx(1, abs=0.05)
    assert not page.locator("#problem").is_visible()
    assert page.title().startswith("xx_pipeline")


def test_the_slider_acts_at_once_and_as_the_pipeline_would(page, reference, reload):
    nlp = reload(reference)
    ner = nlp.get_pipe("birnn_ner")
    ner.temperature = 4.0
    read(page, f"{TEXT} They sell bread to Acme Foods Ltd . Anna flew to Acme .")
    text = page.locator("#text").input_value()
    page.asked.clear()
    slider, seen = page.locator("#threshold"), set()
    assert slider.input_value() == "0.4" and page.locator("#own").is_disabled()
    for hundredths in [*range(1, 101, 4), 40, 100]:
        ner.threshold = hundredths / 100
        slider.fill(str(hundredths / 100))
        assert shown(page) == expected(nlp(text))
        assert page.locator("#threshold-value").inner_text() == f"{hundredths / 100:.2f}"
        seen.add(len(shown(page)))
    assert len(seen) > 2
    page.locator("#own").click()
    ner.threshold = 0.4
    assert shown(page) == expected(nlp(text))
    assert page.asked == []


def test_hidden_context(page, reference, reload):
    nlp = reload(reference)
    nlp.get_pipe("birnn_ner").temperature = 4.0
    nlp.get_pipe("birnn_ner").threshold = 0.4
    analyzer = Analyzer(nlp)
    read(page, TEXT)
    left, right = page.locator("#left"), page.locator("#right")
    assert left.is_disabled() and right.is_disabled()
    page.locator(".token", has_text="Oslo").click()
    assert "Oslo" in page.locator("#chosen").inner_text()
    assert page.locator(".token[aria-selected=true]").all_inner_texts() == ["Oslo"]
    start = TEXT.index("Oslo")

    def confidence(visible):
        (found,) = analyzer.answer([Query(TEXT, "inspection", visible)])
        place = found["visible"][0] + start - visible[0] if visible else start
        values = [c["confidence"] for c in found["candidates"] if c["start"] == place]
        return f"{values[0]:.3f}"

    left.click()
    page.locator("#comparison:not(:empty)").wait_for()
    assert page.locator(".token.unseen").all_inner_texts() == ["Anna", "Berg", "flew", "from"]
    told = page.locator("#comparison").inner_text()
    assert f"{confidence(None)} in the whole text" in told
    assert f"{confidence((start, len(TEXT)))} without the hidden words" in told
    assert left.get_attribute("aria-pressed") == "true"
    right.click()
    page.locator(".token.unseen", has_text="York").wait_for()
    assert page.locator(".token:not(.unseen)").all_inner_texts() == ["Oslo"]
    # Another word is chosen while words are hidden
    page.locator(".token", has_text="flew").click()
    page.locator(".token:not(.unseen)", has_text="flew").wait_for()
    assert "“flew”" in page.locator("#comparison").inner_text()
    left.click()
    right.click()
    page.locator("#comparison:empty").wait_for(state="attached")
    assert page.locator(".token.unseen").count() == 0


def test_tags_morphology_and_lemmas_on_hover_and_on_focus(page, reference):
    read(page, TEXT)
    token = reference(TEXT)[2]
    word, tip = page.locator(".token", has_text="flew"), page.locator("#tip")
    assert not tip.is_visible()
    word.hover()
    for fact in (token.lemma_, token.tag_, token.pos_, token.morph.get("Tense")[0]):
        assert fact in tip.inner_text()
    page.mouse.move(0, 0)
    assert not tip.is_visible()
    word.focus()
    assert token.tag_ in tip.inner_text()
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_with_the_keyboard_alone(page):
    # The text has the focus
    page.keyboard.type(TEXT)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("mark.entity").first.wait_for()

    def tab_to(selector):
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.locator(f"{selector}:focus").count():
                return
        raise AssertionError(f"The Tab key does not come to {selector}")

    tab_to("#threshold")
    page.keyboard.press("Home")
    assert page.locator("#threshold-value").inner_text() == "0.01"
    tab_to("#words .token")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.locator(".token:focus").inner_text() == "Oslo"
    assert page.locator("#tip").is_visible()
    page.keyboard.press("Enter")
    assert page.locator(".token:focus").get_attribute("aria-selected") == "true"
    page.keyboard.press("End")
    assert page.locator(".token:focus").inner_text() == "."
    page.locator("#left").focus()
    page.keyboard.press("Space")
    page.locator(".token.unseen").first.wait_for()
    tab_to("#words .token")
    tab_to("summary")
    page.keyboard.press("Enter")
    page.locator("#states canvas").first.wait_for()
    tab_to("#component")


def test_text_is_never_html(page):
    read(page, SCRIPT)
    words = page.locator("#words .token").all_inner_texts()
    assert "".join(words) == SCRIPT.replace(" ", "")
    assert page.locator("#result script, #result img").count() == 0
    assert page.title().startswith("xx_pipeline")
    page.locator(".token").nth(1).hover()
    page.locator("#states-part summary").click()
    page.locator("#states canvas").first.wait_for()
    assert page.locator("#result script, #result img").count() == 0


def test_nor_are_labels(open_page, serve, nlp):
    ruler = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": SCRIPT, "pattern": "Oslo"}])
    with serve(nlp) as url:
        page = open_page(url)
        read(page, "Oslo \N{GRINNING FACE} and Oslo")
        assert [name for _, name in shown(page)] == [SCRIPT] * 2
        assert page.locator("#result script, #result img").count() == 0
        # Only what the pipeline has is there
        for part in ("#threshold-row", "#categories-part", "#states-part"):
            assert not page.locator(part).is_visible()
        page.locator(".token").first.hover()
        assert not page.locator("#tip").is_visible()
        page.close()


def test_states(page, reference):
    read(page, TEXT)
    page.locator("#states-part summary").click()
    page.locator("#states canvas").first.wait_for()
    assert page.locator("#states caption").all_inner_texts() == [
        "Forward: read from left to right",
        "Backward: read from right to left",
    ]
    assert page.locator("#states tbody th").all_inner_texts() == TEXT.split() * 2
    width = reference.get_pipe("birnn_tagger").model.get_ref("tok2vec").get_dim("nO")
    assert page.locator("#states canvas").first.get_attribute("width") == str(width // 2)
    page.locator("#component").select_option("birnn_ner")
    page.locator("#states canvas").first.wait_for()
    read(page, "word " * 101)
    page.locator("#states-note", has_text="101 words").wait_for()
    assert page.locator("#states canvas").count() == 0


def test_what_goes_wrong_is_said(page):
    page.locator("#text").fill("They fail")
    page.locator("#analyze").click()
    page.locator("#problem", has_text="it says fail").wait_for()
    page.locator("#text").fill("a" * 100_001)
    page.locator("#analyze").click()
    page.locator("#problem", has_text="100001 characters").wait_for()
    page.route("**/api/inspect", lambda route: route.fulfill(status=502, body="<html>Bad Gateway"))
    page.locator("#text").fill(TEXT)
    page.locator("#analyze").click()
    page.locator("#problem", has_text="HTTP status 502").wait_for()
    page.unroute("**/api/inspect")
    read(page, TEXT)
    assert not page.locator("#problem").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, {"width": 1280, "height": 800}])
def test_it_fits_and_can_be_read(open_page, size, scheme):
    page = open_page(viewport=size, color_scheme=scheme)
    read(page, f"{TEXT} {'unbreakable' * 20}")
    page.locator(".token").nth(7).hover()
    page.locator("#states-part summary").click()
    page.locator("#states canvas").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    tip = page.locator("#tip")
    page.locator(".token").nth(7).hover()
    assert tip.bounding_box()["x"] >= 0
    for selector in ("#words .token >> nth=2", ".entity .token >> nth=0", ".entity .name >> nth=0"):
        assert contrast(page.locator(selector)) >= 4.5
    for selector in ("#analyze", "#left", "#components", "#tip", "#attention small >> nth=0"):
        assert contrast(page.locator(selector)) >= 4.5
    is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 21, 27)"
    assert is_dark == (scheme == "dark")


def contrast(element):
    """The contrast of a text and what it is on, as WCAG 2.2 defines it."""
    colors = element.evaluate(
        """element => {
            const on = (e) => {
                const color = getComputedStyle(e).backgroundColor;
                const isClear = color === "rgba(0, 0, 0, 0)";
                return isClear && e.parentElement ? on(e.parentElement) : color;
            };
            return [getComputedStyle(element).color, on(element)];
        }"""
    )

    def luminance(color):
        parts = [int(part) / 255 for part in color[4:-1].split(",")]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted(map(luminance, colors))
    return (high + 0.05) / (low + 0.05)

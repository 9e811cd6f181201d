from deployments.observe.grafana import FILE, ROWS, document, text


def test_the_file_is_what_the_panels_say() -> None:
    assert FILE.read_text() == text(), "run: python -m deployments.observe.grafana"


def test_panels_do_not_overlap_and_every_one_says_what_it_is_for() -> None:
    cells = [
        (at["x"] + dx, at["y"] + dy)
        for panel in document()["panels"]
        for at in [panel["gridPos"]]
        for dx in range(at["w"])
        for dy in range(at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(panel.reads for panels in ROWS.values() for panel in panels)

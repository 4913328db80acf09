"""The page's views as a stranger goes through them: what can be done to several jobs, and what every view says."""

import pytest

import pathpatch as pp
from tests.live_service import spec

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.integration


def small(name, examples=6):
    """A job of its own by its tag."""
    return pp.path_patch(
        pp.heads("1.0"), pp.resid(3), pp.ioi(examples), pp.logit_diff(), model="demo", tags={"trial": name}
    )


def long(name):
    """A job that takes longer than any test."""
    return pp.path_patch(
        pp.sweep("z"), pp.sweep("v"), pp.ioi(2000), pp.logit_diff(), model="demo", tags={"trial": name}, use_cache=False
    )


def listed(page, stack, trial):
    """The list of the jobs of one trial."""
    page.goto(f"{stack.url}/#/jobs?tag=trial:{trial}")
    expect(page.locator("tbody tr").first).to_be_visible()


def test_a_tag_leads_to_the_jobs_that_have_it(page, stack, client):
    """In the list and on the job's page."""
    jobs = [client.submit(small("by-tag", examples)).wait(timeout_s=60) for examples in (6, 7)]
    page.goto(f"{stack.url}/#/jobs")
    page.locator(f"#row-{jobs[0].id}").get_by_role("link", name="trial:by-tag").click()
    expect(page.get_by_label("Tag")).to_have_value("trial:by-tag")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.goto(f"{stack.url}/#/jobs/{jobs[0].id}")
    page.get_by_role("complementary").get_by_role("link", name="trial:by-tag").click()
    expect(page.locator("tbody tr")).to_have_count(2)


def test_several_jobs_are_erased_at_once(page, stack, client):
    """All in the list, by one box; only after they were asked for."""
    jobs = [client.submit(small("erase", examples)).wait(timeout_s=60) for examples in (6, 7, 8)]
    listed(page, stack, "erase")
    page.get_by_label("Select all jobs in the list").check()
    bar = page.get_by_role("group", name="Selected jobs")
    expect(bar).to_contain_text("3 selected")
    expect(bar.get_by_role("button", name="Cancel")).to_be_disabled()
    expect(bar.get_by_role("button", name="Compare selected")).to_be_disabled()
    page.once("dialog", lambda dialog: dialog.dismiss())
    bar.get_by_role("button", name="Erase").click()
    assert client.get(jobs[0].id).status == "succeeded"
    page.once("dialog", lambda dialog: dialog.accept())
    bar.get_by_role("button", name="Erase").click()
    expect(page.locator("main")).to_contain_text("No job fits these filters")
    expect(bar).to_be_hidden()
    for job in jobs:
        with pytest.raises(pp.ServiceError):
            client.get(job.id)


def test_several_running_jobs_are_cancelled_at_once(page, stack, client):
    """What has ended already is left alone."""
    ended = client.submit(small("cancel")).wait(timeout_s=60)
    running = [client.submit(long("cancel")) for _ in range(2)]
    listed(page, stack, "cancel")
    for job in (ended, *running):
        page.locator(f"#row-{job.id} input").check()
    page.get_by_role("group", name="Selected jobs").get_by_role("button", name="Cancel").click()
    for job in running:
        expect(page.locator(f"#row-{job.id} .badge.cancelled")).to_be_visible(timeout=60_000)
    assert client.get(ended.id).status == "succeeded"


def test_the_results_of_several_jobs_are_downloaded_at_once(page, stack, client, tmp_path):
    """One file for each."""
    jobs = [client.submit(small("download", examples)).wait(timeout_s=60) for examples in (6, 7)]
    listed(page, stack, "download")
    for job in jobs:
        page.locator(f"#row-{job.id} input").check()
    found = []
    page.on("download", lambda download: found.append(download))
    page.get_by_role("button", name="Download results").click()
    expect(page.locator("#announcer")).to_have_text("2 downloaded")
    page.wait_for_timeout(500)
    names = {download.suggested_filename: download for download in found}
    assert set(names) == {f"{job.id}.npz" for job in jobs}
    for job, examples in zip(jobs, (6, 7), strict=True):
        names[f"{job.id}.npz"].save_as(tmp_path / f"{job.id}.npz")
        assert pp.Result.load(tmp_path / f"{job.id}.npz").shape == (examples,)


def test_the_skip_link_stays_in_the_view(page, stack, client):
    """It skips to the content of the job, not to the list of jobs."""
    job = client.submit(small("skip")).wait(timeout_s=60)
    page.goto(f"{stack.url}/#/jobs/{job.id}")
    expect(page.locator(".canvas .main-svg").first).to_be_visible(timeout=60_000)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    assert page.url.endswith(f"#/jobs/{job.id}")
    expect(page.locator("h1")).to_contain_text("z 1.0 → resid_post 3")


def test_a_filter_that_cannot_be_leaves_the_form(page, stack):
    """What was typed is there to be mended, with the error beside it."""
    page.goto(f"{stack.url}/#/jobs")
    page.get_by_label("Tag").fill("names")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".problem")).to_contain_text("'names' is not a tag")
    expect(page.get_by_label("Tag")).to_have_value("names")
    expect(page.get_by_label("Tag")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Tag").fill("trial:none")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("main")).to_contain_text("No job fits these filters")


def test_a_new_view_begins_at_its_top(page, stack, client):
    """Whoever has scrolled down a list starts to read a job at its heading."""
    job = client.submit(small("scroll")).wait(timeout_s=60)
    page.set_viewport_size({"width": 390, "height": 500})
    page.goto(f"{stack.url}/#/jobs/{job.id}")
    expect(page.locator(".canvas .main-svg").first).to_be_visible(timeout=60_000)
    page.mouse.wheel(0, 3000)
    page.wait_for_function("() => scrollY > 500")
    page.evaluate("location.hash = '#/new'")
    expect(page.locator("h1")).to_have_text("New experiment")
    assert page.evaluate("scrollY") == 0


def test_a_job_without_a_result_says_what_to_do_next(page, stack, client):
    """Its state is a word and a drawn shape: no font has a sign for each."""
    expired = client.submit(long("next").model_copy(update={"expires_after_s": 0.2})).wait(timeout_s=60)
    cancelled = client.submit(long("next"))
    cancelled.cancel()
    cancelled.wait(timeout_s=60)
    for job, words in ((expired, "Run it again with a longer expires_after_s"), (cancelled, "Run it again to have")):
        page.goto(f"{stack.url}/#/jobs/{job.id}")
        expect(page.locator("main")).to_contain_text(words)
        assert page.locator(".state .badge svg path").evaluate("(path) => path.getTotalLength()") > 10


def test_a_view_that_was_left_does_not_come_back(page, stack, client):
    """Its last answer may arrive after the next view is shown."""
    job = client.submit(small("left")).wait(timeout_s=60)
    page.goto(f"{stack.url}/#/jobs")
    expect(page.locator("h1")).to_have_text("Jobs")
    page.evaluate(f"location.hash = '#/new'; setTimeout(() => {{ location.hash = '#/jobs/{job.id}'; }}, 30)")
    expect(page.locator("h1")).to_contain_text("z 1.0 → resid_post 3")
    page.wait_for_timeout(1000)
    expect(page.locator("h1")).to_contain_text("z 1.0 → resid_post 3")


def test_a_failed_job_says_why_and_what_to_do_next(browser, service, worker):
    """The reason alone leaves a user who did not set the service up where they are."""
    job = service.client.post("/v1/jobs", json=spec()).json()
    worker.fail(worker.take(), "checks_failed", "identity is off by 0.1")
    tab = browser.new_page()
    tab.goto(f"{service.url}/#/jobs/{job['id']}")
    expect(tab.locator(".badge.failed")).to_be_visible()
    expect(tab.locator(".problem")).to_contain_text("identity is off by 0.1")
    expect(tab.locator("main .notice")).to_contain_text("Run it again with changes")
    tab.close()


def test_jobs_are_found_by_their_name(page, stack, client):
    """By a part of it, in any case of letters; what does not fit is not shown."""
    spec = pp.path_patch(pp.heads("1.0"), pp.query("2.1"), pp.ioi(5), pp.logit_diff(), model="demo", name="Needle 7")
    client.submit(spec).wait(timeout_s=60)
    page.goto(f"{stack.url}/#/jobs")
    page.get_by_role("search").get_by_label("Name").fill("needle")
    page.keyboard.press("Enter")
    expect(page.locator("table.jobs tbody tr")).to_have_count(1)
    expect(page.locator("table.jobs tbody tr")).to_contain_text("Needle 7")
    expect(page.locator("table.jobs tbody tr")).to_contain_text("5 examples, seed 0")
    page.get_by_role("search").get_by_label("Name").fill("no such name")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No job fits these filters.")).to_be_visible()


def test_differences_can_be_read_on_a_phone(page, stack, client):
    """Both values of a field, one below the other."""
    specs = [
        pp.path_patch(pp.heads("1.0"), pp.query(q), pp.ioi(5), pp.logit_diff(), model="demo") for q in ("2.1", "2.2")
    ]
    ids = [client.submit(spec).wait(timeout_s=60).id for spec in specs]
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{stack.url}/#/compare/{'/'.join(ids)}")
    first, second = (page.locator(".differences tbody td").nth(place) for place in (0, 1))
    expect(second).to_be_visible()
    boxes = [cell.bounding_box() for cell in (first, second)]
    assert all(box["width"] > 250 for box in boxes) and boxes[0]["y"] < boxes[1]["y"]
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")

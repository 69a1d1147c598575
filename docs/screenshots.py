"""Screenshots of Prefect's page with Stenopool's runs: ``python -m docs.screenshots``.

Starts `stenopool up` on a free port with an empty home, transcribes a few real recordings and an invalid one, and takes
screenshots with Debian's Chromium: the form of a run, a run in progress, and its results.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from prefect.client.orchestration import SyncPrefectClient

IMAGES = Path(__file__).parent / "images"
SPEECH = Path(os.environ.get("STENOPOOL_SPEECH") or Path(__file__).parents[2] / "shared" / "speech")
PORT = 24200
PAGE = f"http://127.0.0.1:{PORT}"
PASSWORD = "docs:screenshots"
_RECORDINGS = 16


@contextmanager
def everything(home: Path) -> Iterator[None]:
    """`stenopool up`, until the block ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STENOPOOL_"))}
    environment |= {
        "PREFECT_HOME": str(home),
        "STENOPOOL_BATCH__BATCH_RECORDINGS": "2",  # several tasks, so that the page shows several
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
    }
    command = [str(Path(sys.executable).with_name("stenopool")), "up", "--no-api", "--port", str(PORT)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        print(process.stdout.readline())  # "Stenopool is running"
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)


def recordings(folder: Path) -> Path:
    """Some real speech, and a file that is not a recording."""
    source = folder / "calls" / "2026-11"
    source.mkdir(parents=True)
    for path in sorted((SPEECH / "en").glob("*.flac"))[:_RECORDINGS]:
        shutil.copy(path, source)
    (source / "notes.mp3").write_text("not a recording")
    return source


def picture(page: Page, name: str, *, wait: float = 2.0) -> None:
    page.wait_for_load_state("networkidle")
    time.sleep(wait)
    page.screenshot(path=IMAGES / f"{name}.png")
    print(name)


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary, everything(Path(temporary) / "home"), sync_playwright() as play:
        folder = Path(temporary)
        source, destination = recordings(folder), folder / "transcripts"
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(f"localStorage.setItem('prefect-password', btoa('{PASSWORD}'))")
        client = SyncPrefectClient(f"{PAGE}/api", auth_string=PASSWORD)
        deployment = client.read_deployment_by_name("ingest/interactive")

        page.goto(f"{PAGE}/deployments/deployment/{deployment.id}/run")
        picture(page, "run-form", wait=3)

        run = client.create_flow_run_from_deployment(
            deployment.id, parameters={"source": str(source), "destination": str(destination)}
        )
        while not (children := [one for one in client.read_flow_runs() if one.name.startswith("transcribe")]):
            time.sleep(0.5)
        while not client.read_flow_run(children[0].id).start_time:
            time.sleep(0.5)
        time.sleep(1)
        page.goto(f"{PAGE}/runs/flow-run/{run.id}")
        picture(page, "ingest-running", wait=4)
        while not client.read_flow_run(run.id).state.is_final():
            time.sleep(1)
        page.goto(f"{PAGE}/runs/flow-run/{run.id}?tab=Artifacts")
        picture(page, "ingest-artifacts", wait=4)
        artifacts = client.read_artifacts()
        for key in ("ingest-summary", "transcribe-summary"):
            (summary,) = [one for one in artifacts if one.key == key]
            page.goto(f"{PAGE}/artifacts/artifact/{summary.id}")
            picture(page, key, wait=3)
        page.goto(f"{PAGE}/runs/flow-run/{children[0].id}?tab=Logs")
        picture(page, "transcribe-logs", wait=4)
        browser.close()


if __name__ == "__main__":
    main()

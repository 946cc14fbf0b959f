"""Seconds from the move of a slider to the drawn network, in a browser on this machine.

    python -m benchmarks.live_page

Starts the live page, opens it in Chromium or Chrome without a window, and moves the sliders of
ResNet-18's budget, each to places it has not been: 20 moves after one that compiles. Prints the
median and the greatest, with the load of the machine.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time

MOVES = 20
SHOWN = "() => document.body.dataset.shown === location.hash.slice(1)"


def main() -> None:
    """Measures and prints."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-c", "from deepmad_jax.cli import main; main()"]
    command += ["serve", "--no-open", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        address = server.stdout.readline().split()[5]
        try:
            with sync_playwright() as playwright:
                path = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(
                    executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else []
                )
                seconds = _moves(browser.new_page(), address)
        finally:
            server.terminate()
    print(
        f"{MOVES} moves: median {statistics.median(seconds):.2f} s, greatest {max(seconds):.2f} s; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


def _moves(page, address: str) -> list[float]:
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_function(SHOWN)
    # Once more, with the points around it, which compile too.
    page.wait_for_function("() => document.body.dataset.around !== undefined")
    seconds = []
    for move in range(MOVES):
        page.focus(("#macs-slider", "#params-slider", "#rho-slider")[move % 3])
        began = time.perf_counter()
        page.keyboard.press("ArrowLeft" if move % 2 else "PageUp")
        page.wait_for_function(SHOWN)
        seconds.append(time.perf_counter() - began)
    return seconds


if __name__ == "__main__":
    main()

"The server and the browser are shared by all tests of this folder."
from tests.browser.lab import browser, server # noqa: F401

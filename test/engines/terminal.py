#!/usr/bin/env python3
"""terminal.py [STEP...] -- CMD...

Runs CMD on a terminal of its own, prints what it writes there, and ends with its exit code. The steps are done in order:

    size:ROWSxCOLUMNS  resize the terminal; before the first other step, its size from the start
    expect:REGEXP      wait until what was written since the last match matches
    send:TEXT          type TEXT; \\n, \\r, \\xHH and the like are understood
    signal:NUMBER      send CMD a signal

A step that cannot be done within 30 seconds ends everything with exit code 200 and a line on standard error.
"""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

PATIENCE = 30.0


def resize(fd, text):
    rows, columns = (int(n) for n in text.split("x"))
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Terminal:
    def __init__(self, fd):
        self.fd, self.pending, self.open = fd, b"", True

    def read(self, seconds):
        """Takes in and prints what CMD has written; waits that long for it."""
        if not self.open or not select.select([self.fd], [], [], seconds)[0]:
            return
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody has the other end open any more
            data = b""
        self.open = bool(data)
        self.pending += data
        os.write(1, data)

    def expect(self, pattern):
        end = time.monotonic() + PATIENCE
        while True:
            match = re.search(pattern.encode(), self.pending)
            if match:
                self.pending = self.pending[match.end():]
                return
            if not self.open or time.monotonic() > end:
                raise TimeoutError(f"expect:{pattern}: got {self.pending!r}")
            self.read(0.2)


def main():
    split = sys.argv.index("--")
    steps, command = sys.argv[1:split], sys.argv[split + 1:]
    child, fd = pty.fork()
    if child == 0:
        if steps and steps[0].startswith("size:"):
            resize(0, steps[0][5:])
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"{command[0]}: {error}", file=sys.stderr)
            os._exit(127)
    terminal = Terminal(fd)
    try:
        for step in steps:
            verb, _, text = step.partition(":")
            if verb == "size":
                resize(fd, text)
            elif verb == "expect":
                terminal.expect(text)
            elif verb == "send":
                os.write(fd, text.encode().decode("unicode_escape").encode("latin-1"))
            elif verb == "signal":
                os.kill(child, int(text))
            else:
                raise ValueError(f"unknown step {step}")
        end = time.monotonic() + PATIENCE
        while terminal.open:
            terminal.read(0.2)
            if time.monotonic() > end:
                raise TimeoutError("the command does not end")
    except (TimeoutError, ValueError, OSError) as error:
        print(f"terminal.py: {error}", file=sys.stderr)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return 200
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


if __name__ == "__main__":
    sys.exit(main())

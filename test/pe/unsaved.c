/*
 * A program with a window and something unsaved. The first argument says what it answers when it is asked to stop:
 *
 *   close     it ends when its window is closed, with exit code 5
 *   save      it asks its user when its window is closed, and nobody answers; it saves when the session ends
 *   refuse    nor does it let the session end
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>

static const char *mode;

static void say(const char *what)
{
	printf("%s\n", what);
	fflush(stdout);
}

static LRESULT CALLBACK procedure(HWND window, UINT message, WPARAM w, LPARAM l)
{
	switch (message) {
	case WM_CLOSE:
		say("WM_CLOSE");
		if (!strcmp(mode, "close"))
			DestroyWindow(window);
		return 0;
	case WM_DESTROY:
		PostQuitMessage(5);
		return 0;
	case WM_QUERYENDSESSION:
		say("WM_QUERYENDSESSION");
		return !!strcmp(mode, "refuse");
	case WM_ENDSESSION:
		say(w ? "WM_ENDSESSION" : "WM_ENDSESSION, not");
		if (w)
			say("saved");
		return 0;
	}
	return DefWindowProcA(window, message, w, l);
}

int main(int argc, char **argv)
{
	WNDCLASSA class = { .lpfnWndProc = procedure, .lpszClassName = "unsaved" };
	MSG message;

	mode = argc > 1 ? argv[1] : "close";
	RegisterClassA(&class);
	if (!CreateWindowA("unsaved", "unsaved", WS_OVERLAPPEDWINDOW | WS_VISIBLE, 0, 0, 100, 100, NULL, NULL, NULL, NULL))
		return 100;
	say("waiting");
	while (GetMessageA(&message, NULL, 0, 0) > 0)
		DispatchMessageA(&message);
	return (int)message.wParam;
}

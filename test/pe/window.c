/* A window at a known place, its left half red, its right half blue, with a text; ends with 7 when q is typed. */
#include <stdio.h>
#include <windows.h>

static LRESULT CALLBACK window(HWND w, UINT message, WPARAM wparam, LPARAM lparam)
{
	PAINTSTRUCT paint;
	RECT left = { 0, 0, 150, 200 }, right = { 150, 0, 300, 200 };
	HBRUSH red, blue;

	switch (message) {
	case WM_PAINT:
		BeginPaint(w, &paint);
		red = CreateSolidBrush(RGB(200, 30, 40));
		blue = CreateSolidBrush(RGB(20, 60, 220));
		FillRect(paint.hdc, &left, red);
		FillRect(paint.hdc, &right, blue);
		DeleteObject(red);
		DeleteObject(blue);
		SetTextColor(paint.hdc, RGB(255, 255, 255));
		SetBkMode(paint.hdc, TRANSPARENT);
		TextOutA(paint.hdc, 20, 20, "winbox", 6);
		EndPaint(w, &paint);
		return 0;
	case WM_CHAR:
		printf("typed %c\n", (int)wparam);
		fflush(stdout);
		if (wparam == 'q')
			PostQuitMessage(7);
		return 0;
	}
	return DefWindowProcA(w, message, wparam, lparam);
}

int main(void)
{
	WNDCLASSA class = { .lpfnWndProc = window, .hInstance = GetModuleHandleA(0), .lpszClassName = "window" };
	HWND w;
	MSG message;

	RegisterClassA(&class);
	w = CreateWindowA("window", "window", WS_POPUP | WS_VISIBLE, 40, 30, 300, 200, 0, 0, class.hInstance, 0);
	if (!w) {
		printf("no window: error %lu\n", GetLastError());
		return 1;
	}
	UpdateWindow(w);
	printf("screen %dx%d\n", GetSystemMetrics(SM_CXSCREEN), GetSystemMetrics(SM_CYSCREEN));
	fflush(stdout);
	while (GetMessageA(&message, 0, 0, 0) > 0) {
		TranslateMessage(&message);
		DispatchMessageA(&message);
	}
	return (int)message.wParam;
}

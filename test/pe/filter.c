/* Copies its standard input to its standard output byte for byte, and says on standard error how many there were. */
#include <fcntl.h>
#include <io.h>
#include <stdio.h>

int main(void)
{
	static char buffer[65536];
	long total = 0;
	int n;

	_setmode(0, _O_BINARY);
	_setmode(1, _O_BINARY);
	_setmode(2, _O_BINARY);
	while ((n = _read(0, buffer, sizeof(buffer))) > 0) {
		int done = 0, w;

		for (; done < n; done += w)
			if ((w = _write(1, buffer + done, n - done)) <= 0)
				return 2;
		total += n;
	}
	fprintf(stderr, "%ld bytes\n", total);
	return 0;
}

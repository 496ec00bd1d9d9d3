/*
 * Grows the process heap, prints what it consists of (address, bytes in use, bytes reserved behind them), and waits for
 * the end of its standard input.
 */
#include <stdio.h>
#include <windows.h>

int main(void)
{
	PROCESS_HEAP_ENTRY entry = { 0 };
	HANDLE heap = GetProcessHeap();
	char end;

	/* Blocks of 100 KiB are part of the heap's regions, larger ones have their own memory. */
	for (int i = 0; i < 100; i++)
		if (!HeapAlloc(heap, 0, 100 << 10))
			return 1;
	if (!HeapAlloc(heap, 0, 3 << 20))
		return 1;
	printf("heap %p\n", heap);
	while (HeapWalk(heap, &entry))
		if (entry.wFlags & PROCESS_HEAP_REGION)
			printf("region %p %lu %lu\n", entry.lpData, entry.Region.dwCommittedSize, entry.Region.dwUnCommittedSize);
	printf("ready\n");
	fflush(stdout);
	fread(&end, 1, 1, stdin);
	return 0;
}

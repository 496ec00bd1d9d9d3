/*
 * bcryptprimitives.dll for a Wine before 9, which has none. Programs built with Go since 1.22 or with a recent Rust
 * import ProcessPrng from it, and nothing else. It fills the buffer from RtlGenRandom, the documented source of
 * random bytes, which advapi32 exports as SystemFunction036.
 */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *buffer, SIZE_T size)
{
	const SIZE_T most = 1u << 20; /* RtlGenRandom counts in 32 bits */

	for (SIZE_T done = 0; done < size;) {
		SIZE_T part = size - done < most ? size - done : most;
		if (!SystemFunction036(buffer + done, (ULONG)part))
			return FALSE;
		done += part;
	}
	return TRUE;
}

BOOL WINAPI entry(HINSTANCE self, DWORD reason, void *reserved)
{
	(void)self, (void)reason, (void)reserved;
	return TRUE;
}

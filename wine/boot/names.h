/*
 * names.h: names of NT objects, and variables. It needs the types of windows.h or of ntifs.h, which exclude each other.
 */
#ifndef WINBOX_NAMES_H
#define WINBOX_NAMES_H

NTSTATUS NTAPI RtlQueryEnvironmentVariable_U(PWSTR, PUNICODE_STRING, PUNICODE_STRING);

static inline size_t length(const WCHAR *s)
{
	size_t n = 0;
	while (s[n])
		n++;
	return n;
}

static inline UNICODE_STRING name_of(const WCHAR *s)
{
	UNICODE_STRING u = { (USHORT)(length(s) * sizeof(WCHAR)), (USHORT)((length(s) + 1) * sizeof(WCHAR)), (WCHAR *)s };
	return u;
}

static inline OBJECT_ATTRIBUTES attributes(HANDLE root, UNICODE_STRING *name)
{
	OBJECT_ATTRIBUTES a;
	InitializeObjectAttributes(&a, name, OBJ_CASE_INSENSITIVE | OBJ_OPENIF, root, NULL);
	return a;
}

/* environment copies a variable of this process; it is empty when there is none. */
static inline void environment(const WCHAR *name, WCHAR *value, size_t size)
{
	UNICODE_STRING key = name_of(name), to = { 0, (USHORT)((size - 1) * sizeof(WCHAR)), value };

	if (RtlQueryEnvironmentVariable_U(NULL, &key, &to))
		to.Length = 0;
	value[to.Length / sizeof(WCHAR)] = 0;
}

#endif

/*
 * keep.c: has the registry of a persistent prefix saved soon after it has changed.
 *
 * Wine's server saves the registry every thirty seconds and at its end, and NtFlushKey does nothing: what was written shortly
 * before everything is killed would be lost. This waits for a change, and a moment for what comes with it, and has the server
 * write the hive into a draft (NtSaveKey), in the very form of its own files, which takes the place of the file. The server's
 * own saving goes on as ever.
 */
#include "auto.h"
#include "names.h"

enum {
	MOMENT = 500,  /* ms from the first change to the saving */
	PART = 20,     /* of the time, saving takes one part in so many at most */
	SETTLED = 500, /* ms of quiet, after which memory is given back */
	BACKUP_PRIVILEGE = 17,
	CHANGES = 0x7,  /* of REG_NOTIFY_CHANGE: names, attributes, values */
};

/* A hive is a key that the server has a file of. */
struct hive {
	const WCHAR *name; /* NULL for the user's */
	const WCHAR *file;
	HANDLE       key, changed;
};

#define PREFIX L"\\??\\unix\\run\\winbox\\prefix\\"

static struct hive hives[] = {
	{ .name = L"\\Registry\\Machine", .file = PREFIX L"system.reg" },
	{ .name = NULL, .file = PREFIX L"user.reg" },
	{ .name = L"\\Registry\\User\\.Default", .file = PREFIX L"userdef.reg" },
};

/* Named like the server's own, so that what a kill leaves of it is removed likewise (persistent.go in the folder above). */
static const WCHAR draft[] = PREFIX L"regwinbox.tmp";

/* written is when a file was last written to; 0 when there is none. */
static LONGLONG written(const WCHAR *file)
{
	UNICODE_STRING         name = name_of(file);
	OBJECT_ATTRIBUTES      attr = attributes(NULL, &name);
	FILE_BASIC_INFORMATION info;

	return NtQueryAttributesFile(&attr, &info) ? 0 : info.LastWriteTime.QuadPart;
}

/* save puts the hive in the place of its file, unless the server does so meanwhile, which has something newer then. */
static void save(const struct hive *h)
{
	struct {
		FILE_RENAME_INFORMATION to;
		WCHAR                   room[64];
	} rename = { .to = { .ReplaceIfExists = TRUE } };
	UNICODE_STRING    name = name_of(draft);
	OBJECT_ATTRIBUTES attr = attributes(NULL, &name);
	IO_STATUS_BLOCK   io;
	HANDLE            file;
	LONGLONG          before = written(h->file);

	if (NtCreateFile(&file, GENERIC_WRITE | DELETE | SYNCHRONIZE, &attr, &io, NULL, FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ, FILE_OVERWRITE_IF,
	                 FILE_NON_DIRECTORY_FILE | FILE_SYNCHRONOUS_IO_NONALERT, NULL, 0))
		return;
	rename.to.FileNameLength = (ULONG)(length(h->file) * sizeof(WCHAR));
	memcpy(rename.to.FileName, h->file, rename.to.FileNameLength);
	if (!NtSaveKey(h->key, file) && written(h->file) == before)
		NtSetInformationFile(file, &io, &rename, sizeof(rename), FileRenameInformation);
	NtClose(file);
}

/* watch_hive has the event set at the next change. */
static BOOL watch_hive(struct hive *h)
{
	static IO_STATUS_BLOCK io;

	ResetEvent(h->changed);
	return NtNotifyChangeKey(h->key, h->changed, NULL, NULL, &io, CHANGES, TRUE, NULL, 0, TRUE) >= 0;
}

static BOOL open_hive(struct hive *h)
{
	UNICODE_STRING    name;
	OBJECT_ATTRIBUTES attr;

	if (h->name)
		name = name_of(h->name);
	else if (RtlFormatCurrentUserKeyPath(&name))
		return FALSE;
	attr = attributes(NULL, &name);
	if (NtOpenKey(&h->key, KEY_NOTIFY | KEY_READ, &attr))
		return FALSE;
	h->changed = CreateEventW(NULL, TRUE, FALSE, NULL);
	return watch_hive(h);
}

DWORD WINAPI keep(void *unused)
{
	HANDLE  events[1 + COUNT(hives)];
	DWORD   pause = MOMENT, which;
	BOOLEAN before;

	(void)unused;
	/* The session does not wait for processes of the system. */
	if (!session_end && NtSetInformationProcess(this_process, PROCESS_MAKE_SYSTEM, &session_end, sizeof(HANDLE *)))
		return 0;
	events[0] = session_end;
	for (size_t i = 0; i < COUNT(hives); i++) {
		if (!open_hive(&hives[i]))
			return 0;
		events[1 + i] = hives[i].changed;
	}
	if (RtlAdjustPrivilege(BACKUP_PRIVILEGE, TRUE, FALSE, &before))
		return 0;
	for (;;) {
		which = WaitForMultipleObjects(COUNT(events), events, FALSE, SETTLED);
		if (which == WAIT_TIMEOUT) {
			release();
			which = WaitForMultipleObjects(COUNT(events), events, FALSE, INFINITE);
		}
		if (which == WAIT_OBJECT_0 || which >= WAIT_OBJECT_0 + COUNT(events) || WaitForSingleObject(session_end, pause) != WAIT_TIMEOUT)
			return 0;
		DWORD begun = GetTickCount();
		for (size_t i = 0; i < COUNT(hives); i++) {
			/* Watched again before it is saved: what changes meanwhile is for the next time. */
			if (WaitForSingleObject(hives[i].changed, 0) == WAIT_OBJECT_0 && watch_hive(&hives[i]))
				save(&hives[i]);
		}
		pause = (GetTickCount() - begun) * PART;
		if (pause < MOMENT)
			pause = MOMENT;
	}
}

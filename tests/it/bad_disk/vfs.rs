//! The tables of functions: each passes on to the file system that SQLite uses by default.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::size_of;
use std::ptr;
use std::sync::Arc;

use rusqlite::ffi;

use super::{Disk, Op};

/// What stands before the real file in the memory that SQLite gives us for one.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    layer: *const Layer,
    name: *mut String,
}

struct Layer {
    real: *mut ffi::sqlite3_vfs,
    disk: Arc<Disk>,
}

/// Makes the disk known to SQLite under its name, for as long as the process lives.
pub(super) fn register(disk: &Arc<Disk>) {
    // SAFETY: everything that SQLite keeps is leaked on purpose; the default layer lives as long as the process.
    unsafe {
        ffi::sqlite3_initialize();
        let real = ffi::sqlite3_vfs_find(ptr::null());
        assert!(!real.is_null(), "SQLite has a file system");
        let layer = Box::leak(Box::new(Layer { real, disk: Arc::clone(disk) }));
        let name = CString::new(disk.name.clone()).unwrap().into_raw();
        let vfs = ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: c_int::try_from(size_of::<File>()).unwrap() + (*real).szOsFile,
            pNext: ptr::null_mut(),
            zName: name,
            pAppData: ptr::from_mut(layer).cast(),
            xOpen: Some(open),
            xDelete: Some(delete),
            // what only looks is the real one's: it takes its own table as its first argument
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            ..*real
        };
        assert_eq!(ffi::sqlite3_vfs_register(Box::leak(Box::new(vfs)), 0), ffi::SQLITE_OK);
    }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// How a page begins that is a leaf of an index.
const INDEX_LEAF: u8 = 10;
/// The schema, and the history of its migrations with its index.
const FIRST_PAGES_BYTES: i64 = 10 * 4_096;

/// SAFETY of all functions below: SQLite calls them with the tables and files that `register` and `open` filled in.
unsafe fn layer<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Layer {
    unsafe { &*(*vfs).pAppData.cast::<Layer>() }
}

unsafe fn disk<'a>(file: *mut ffi::sqlite3_file) -> &'a Disk {
    unsafe { &(*(*file.cast::<File>()).layer).disk }
}

unsafe fn name(file: *mut ffi::sqlite3_file) -> String {
    unsafe { (*(*file.cast::<File>()).name).clone() }
}

unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    unsafe { file.cast::<u8>().add(size_of::<File>()).cast() }
}

/// Calls a method of the real file.
macro_rules! pass_on {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let real = real($file);
        ((*(*real).pMethods).$method.unwrap())(real $(, $argument)*)
    }};
}

unsafe fn base_name(path: *const c_char) -> String {
    if path.is_null() {
        return String::from("unnamed");
    }
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy().into_owned();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    unsafe {
        let layer = layer(vfs);
        (*file).pMethods = ptr::null();
        let real_file = real(file);
        (*real_file).pMethods = ptr::null();
        let opened = ((*layer.real).xOpen.unwrap())(layer.real, path, real_file, flags, out_flags);
        if opened == ffi::SQLITE_OK {
            let own = file.cast::<File>();
            (*own).layer = ptr::from_ref(layer);
            (*own).name = Box::into_raw(Box::new(base_name(path)));
            (*file).pMethods = &raw const METHODS;
        }
        opened
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, path: *const c_char, sync_dir: c_int) -> c_int {
    unsafe {
        let layer = layer(vfs);
        let deleted = ((*layer.real).xDelete.unwrap())(layer.real, path, sync_dir);
        if deleted == ffi::SQLITE_OK {
            layer.disk.note(|| Op::Delete { file: base_name(path), synced: sync_dir != 0 });
        }
        deleted
    }
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        let real = layer(vfs).real;
        ((*real).xAccess.unwrap())(real, path, flags, out)
    }
}

unsafe extern "C" fn full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    unsafe {
        let real = layer(vfs).real;
        ((*real).xFullPathname.unwrap())(real, path, bytes, out)
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe {
        let closed = pass_on!(file, xClose);
        drop(Box::from_raw((*file.cast::<File>()).name));
        closed
    }
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, out: *mut c_void, bytes: c_int, at: i64) -> c_int {
    unsafe { pass_on!(file, xRead, out, bytes, at) }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    at: i64,
) -> c_int {
    unsafe {
        disk(file).wait_while_held(&name(file));
        let refused = disk(file).before_write();
        if refused != ffi::SQLITE_OK {
            return refused;
        }
        let length = usize::try_from(bytes).unwrap();
        let stored = std::slice::from_raw_parts(from.cast::<u8>(), length);
        // in an index that nobody reads who only asks for the schema's version and the last job
        let is_leaf = at >= FIRST_PAGES_BYTES && stored.first() == Some(&INDEX_LEAF);
        if is_leaf && disk(file).garbles(&name(file)) {
            let other: Vec<u8> = stored.iter().map(|byte| byte ^ 0x40).collect();
            return pass_on!(file, xWrite, other.as_ptr().cast(), bytes, at);
        }
        let written = pass_on!(file, xWrite, from, bytes, at);
        if written == ffi::SQLITE_OK {
            disk(file).note(|| Op::Write {
                file: name(file),
                offset: usize::try_from(at).unwrap(),
                bytes: stored.to_vec(),
            });
        }
        written
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, bytes: i64) -> c_int {
    unsafe {
        let cut = pass_on!(file, xTruncate, bytes);
        if cut == ffi::SQLITE_OK {
            disk(file).note(|| Op::Truncate { file: name(file), bytes: usize::try_from(bytes).unwrap() });
        }
        cut
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    unsafe {
        let refused = disk(file).before_sync(&name(file));
        if refused != ffi::SQLITE_OK {
            return refused;
        }
        let synced = pass_on!(file, xSync, flags);
        if synced == ffi::SQLITE_OK {
            disk(file).note(|| Op::Sync { file: name(file) });
        }
        synced
    }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, out: *mut i64) -> c_int {
    unsafe { pass_on!(file, xFileSize, out) }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    unsafe { pass_on!(file, xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    unsafe { pass_on!(file, xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    unsafe { pass_on!(file, xCheckReservedLock, out) }
}

unsafe extern "C" fn file_control(file: *mut ffi::sqlite3_file, what: c_int, argument: *mut c_void) -> c_int {
    unsafe { pass_on!(file, xFileControl, what, argument) }
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe { pass_on!(file, xSectorSize) }
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe { pass_on!(file, xDeviceCharacteristics) }
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    piece: c_int,
    bytes: c_int,
    extends: c_int,
    out: *mut *mut c_void,
) -> c_int {
    unsafe {
        let refused = disk(file).before_index_piece(piece, extends != 0);
        if refused != ffi::SQLITE_OK {
            return refused;
        }
        pass_on!(file, xShmMap, piece, bytes, extends, out)
    }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    from: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    unsafe { pass_on!(file, xShmLock, from, count, flags) }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    unsafe { pass_on!(file, xShmBarrier) }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, deletes: c_int) -> c_int {
    unsafe { pass_on!(file, xShmUnmap, deletes) }
}

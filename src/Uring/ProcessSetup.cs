using System.Runtime.InteropServices;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// What a process that stands behind a block device does to itself. Memory pressure makes the kernel
/// write dirty pages to our device; if serving that write needed memory that only such a write can free,
/// both would wait for ever.
/// </summary>
public static unsafe class ProcessSetup
{
    private const int PrSetIoFlusher = 57;
    private const int PrGetIoFlusher = 58;
    private const int LockCurrent = 1;
    private const int LockFuture = 2;
    private const int LockOnFault = 4;

    /// <summary>
    /// Marks the calling thread as part of the write-back path (PR_SET_IO_FLUSHER, 5.6). The mark is
    /// inherited by threads it makes later and kept across exec, so it is set before the runtime starts
    /// its own threads. 0 or −errno (EPERM: needs CAP_SYS_RESOURCE).
    /// </summary>
    public static int SetIoFlusher() => Libc.Result(Libc.ProcessControl(PrSetIoFlusher, 1, 0, 0, 0));

    /// <summary>Whether the calling thread is marked.</summary>
    public static bool IsIoFlusher => Libc.ProcessControl(PrGetIoFlusher, 0, 0, 0, 0) == 1;

    /// <summary>
    /// Keeps every page of the process in memory from the moment it is first touched. 0 or −errno
    /// (ENOMEM or EPERM: needs CAP_IPC_LOCK or a higher RLIMIT_MEMLOCK).
    /// </summary>
    public static int LockMemory() =>
        Libc.Result(Libc.LockAll(LockCurrent | LockFuture | LockOnFault));

    /// <summary>Lowers the chance of being chosen by the out-of-memory killer; false without right.</summary>
    /// <param name="score">−1000 (never) to 1000.</param>
    public static bool TrySetOomScore(int score)
    {
        try
        {
            File.WriteAllText("/proc/self/oom_score_adj", score.ToString());
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Whether the process runs as root.</summary>
    public static bool IsRoot => Libc.EffectiveUser() == 0;

    /// <summary>Makes the process leader of a session of its own (it outlives its terminal).</summary>
    public static void LeaveTerminal() => _ = Libc.NewSession();

    /// <summary>Keeps the calling thread on one processor.</summary>
    /// <param name="processor">Number of the processor, 0 to 1023.</param>
    /// <exception cref="SystemCallException">EINVAL: no such processor for this process.</exception>
    public static void PinThread(int processor)
    {
        const int Words = 16;
        ArgumentOutOfRangeException.ThrowIfNegative(processor);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(processor, Words * 64);
        ulong* mask = stackalloc ulong[Words];
        new Span<ulong>(mask, Words).Clear();
        mask[processor / 64] = 1UL << (processor % 64);
        int result = Libc.Result(Libc.SetAffinity(0, Words * sizeof(ulong), mask));
        if (result < 0)
        {
            throw new SystemCallException($"pin thread to processor {processor}", result);
        }
    }

    /// <summary>Replaces this process by a program; answers −errno, or does not return.</summary>
    /// <param name="path">The program.</param>
    /// <param name="arguments">Its arguments, the first being its name.</param>
    /// <param name="environment">NAME=VALUE strings.</param>
    public static int Execute(string path, string[] arguments, string[] environment)
    {
        nint file = Marshal.StringToCoTaskMemUTF8(path);
        byte** argv = ToNative(arguments);
        byte** envp = ToNative(environment);
        return Libc.Result(Libc.Execute((byte*)file, argv, envp));
    }

    // Never freed: the process is about to be replaced.
    private static byte** ToNative(string[] strings)
    {
        var list = (byte**)NativeMemory.AllocZeroed((nuint)strings.Length + 1, (nuint)sizeof(nint));
        for (int i = 0; i < strings.Length; i++)
        {
            list[i] = (byte*)Marshal.StringToCoTaskMemUTF8(strings[i]);
        }

        return list;
    }
}

using System.Runtime.InteropServices;
using Ublk.Uring;
using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Frontend.Ublk;

/// <summary>
/// The driver of the running kernel, through <c>/dev/ublk-control</c>. Callable from any thread; commands
/// that wait for somebody have a ring of their own, so that no other command waits behind them.
/// </summary>
public sealed class KernelUblkDriver : IUblkDriver
{
    /// <summary>The control device; it exists while module ublk_drv is loaded.</summary>
    public const string ControlPath = "/dev/ublk-control";

    /// <summary>
    /// Limit of commands that the driver answers without waiting for anybody. Generous, because a
    /// loaded host may schedule late; a driver that needs longer is stuck.
    /// </summary>
    public static readonly TimeSpan ShortLimit = TimeSpan.FromSeconds(10);

    /// <summary>Limit of commands that wait for requests or servers (start, stop, delete).</summary>
    public static readonly TimeSpan LongLimit = TimeSpan.FromSeconds(60);

    private readonly FileHandle _control;
    private readonly ControlRing _ring;

    private readonly TimeProvider _time;
    private readonly TimeSpan _longLimit;

    private KernelUblkDriver(FileHandle control, TimeProvider time, TimeSpan longLimit)
    {
        _control = control;
        _ring = new ControlRing(time);
        _time = time;
        _longLimit = longLimit;
    }

    /// <summary>Opens the control device.</summary>
    /// <param name="time">Clock of the time limits.</param>
    /// <param name="longLimit">Instead of <see cref="LongLimit"/>.</param>
    /// <exception cref="UblkException">No module, no permission.</exception>
    public static KernelUblkDriver Open(TimeProvider time, TimeSpan? longLimit = null)
    {
        int result = FileHandle.TryOpen(
            ControlPath, FileAccess.ReadWrite, OpenOptions.None, out FileHandle? control);
        return control is null
            ? throw UblkException.ForOpen(result)
            : new KernelUblkDriver(control, time, longLimit ?? LongLimit);
    }

    /// <summary>Path of a device's block node.</summary>
    /// <param name="deviceId">Device.</param>
    public static string BlockPath(int deviceId) => $"/dev/ublkb{deviceId}";

    /// <summary>Path of a device's character node.</summary>
    /// <param name="deviceId">Device.</param>
    public static string CharPath(int deviceId) => $"/dev/ublkc{deviceId}";

    /// <inheritdoc/>
    public int GetFeatures(out UblkFeatures features)
    {
        ulong value = 0;
        int result = Execute(UblkAbi.GetFeatures, -1, 0, Bytes(ref value), ShortLimit);
        features = (UblkFeatures)value;
        return result;
    }

    /// <inheritdoc/>
    public int Add(ref UblkDeviceInfo info) =>
        Execute(UblkAbi.AddDevice, (int)info.DeviceId, 0, Bytes(ref info), ShortLimit);

    /// <inheritdoc/>
    public int SetParameters(int deviceId, in UblkParameters parameters)
    {
        UblkParameters copy = parameters;
        return Execute(UblkAbi.SetParameters, deviceId, 0, Bytes(ref copy), ShortLimit);
    }

    /// <inheritdoc/>
    public int GetParameters(int deviceId, out UblkParameters parameters)
    {
        parameters = new UblkParameters { Length = UblkParameters.SizeBytes };
        return Execute(UblkAbi.GetParameters, deviceId, 0, Bytes(ref parameters), ShortLimit);
    }

    /// <inheritdoc/>
    public int GetInfo(int deviceId, out UblkDeviceInfo info)
    {
        info = default;
        return Execute(UblkAbi.GetDeviceInfo, deviceId, 0, Bytes(ref info), ShortLimit);
    }

    /// <inheritdoc/>
    public int Start(int deviceId, int serverPid) =>
        ExecuteLong(UblkAbi.StartDevice, deviceId, (ulong)serverPid);

    /// <inheritdoc/>
    public int Stop(int deviceId) => ExecuteLong(UblkAbi.StopDevice, deviceId, 0);

    /// <inheritdoc/>
    public int TryStop(int deviceId) => ExecuteLong(UblkAbi.TryStopDevice, deviceId, 0);

    /// <inheritdoc/>
    public int Delete(int deviceId, bool isAsync) => ExecuteLong(
        isAsync ? UblkAbi.DeleteDeviceAsync : UblkAbi.DeleteDevice, deviceId, 0);

    /// <inheritdoc/>
    public int UpdateSize(int deviceId, ulong sectors) =>
        Execute(UblkAbi.UpdateSize, deviceId, sectors, [], ShortLimit);

    /// <inheritdoc/>
    public int Quiesce(int deviceId, TimeSpan limit) => Execute(
        UblkAbi.QuiesceDevice, deviceId, (ulong)limit.TotalMilliseconds, [], limit + ShortLimit);

    /// <inheritdoc/>
    public int StartRecovery(int deviceId) =>
        Execute(UblkAbi.StartUserRecovery, deviceId, 0, [], ShortLimit);

    /// <inheritdoc/>
    public int EndRecovery(int deviceId, int serverPid) =>
        ExecuteLong(UblkAbi.EndUserRecovery, deviceId, (ulong)serverPid);

    /// <inheritdoc/>
    public int OpenDevice(int deviceId, out IUblkCharDevice? device)
    {
        int result = FileHandle.TryOpen(
            CharPath(deviceId), FileAccess.ReadWrite, OpenOptions.None, out FileHandle? file);
        device = file is null ? null : new CharDevice(file);
        return result;
    }

    /// <inheritdoc/>
    public IReadOnlyList<int> ListDevices()
    {
        const string Prefix = "/dev/ublkc";
        var ids = new List<int>();
        foreach (string path in Directory.EnumerateFileSystemEntries("/dev", "ublkc*"))
        {
            if (int.TryParse(path.AsSpan(Prefix.Length), out int id))
            {
                ids.Add(id);
            }
        }

        ids.Sort();
        return ids;
    }

    /// <inheritdoc/>
    public bool IsInUse(int deviceId)
    {
        int result = FileHandle.TryOpen(
            BlockPath(deviceId), FileAccess.Read, OpenOptions.Exclusive, out FileHandle? file);
        file?.Dispose();
        return result == -Errno.EBUSY;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _ring.Dispose();
        _control.Dispose();
    }

    private int ExecuteLong(uint opcode, int deviceId, ulong data)
    {
        using var ring = new ControlRing(_time);
        return ring.Execute(_control, Command(opcode, deviceId, data, 0), [], _longLimit);
    }

    private int Execute(
        uint opcode, int deviceId, ulong data, Span<byte> payload, TimeSpan limit) =>
        _ring.Execute(_control, Command(opcode, deviceId, data, payload.Length), payload, limit);

    private static ControlCommand Command(
        uint opcode, int deviceId, ulong data, int payloadBytes)
    {
        ulong head = (uint)deviceId | (ulong)UblkAbi.NoQueue << 32 | (ulong)payloadBytes << 48;
        return new ControlCommand(opcode, head, data, 0);
    }

    private static Span<byte> Bytes<T>(ref T value) where T : struct =>
        MemoryMarshal.AsBytes(MemoryMarshal.CreateSpan(ref value, 1));

    private sealed class CharDevice(FileHandle file) : IUblkCharDevice
    {
        public IUblkQueueDriver OpenQueue(Loop loop, int queueId, int depth) =>
            new QueueDriver(file, loop, queueId, depth);

        public void Dispose() => file.Dispose();
    }

    private sealed class QueueDriver : IUblkQueueDriver, IRingCompletion
    {
        private readonly FileHandle _file;
        private readonly Loop _loop;
        private readonly RingFile _ringFile;
        private readonly MemoryMapping _descriptors;
        private readonly int _queueId;
        private readonly int _depth;

        public QueueDriver(FileHandle file, Loop loop, int queueId, int depth)
        {
            _file = file;
            _loop = loop;
            _queueId = queueId;
            _depth = depth;
            _descriptors = MemoryMapping.Open(file, UblkAbi.DescriptorOffset(queueId),
                UblkAbi.DescriptorLength(depth), writable: false);
            try
            {
                loop.Reserve(depth);
            }
            catch
            {
                _descriptors.Dispose(); // A mapping that stays would block the device's deletion.
                throw;
            }

            _ringFile = loop.Files.Register(file);
        }

        public IUblkCommandSink? Sink { get; set; }

        public UblkIoDescriptor Descriptor(int tag) =>
            _descriptors.At<UblkIoDescriptor>((long)tag * UblkIoDescriptor.SizeBytes);

        public void Fetch(int tag, ulong bufferWord) =>
            Command(UblkAbi.FetchRequest, tag, 0, bufferWord);

        public void Commit(int tag, int result, ulong bufferWord) =>
            Command(UblkAbi.CommitAndFetchRequest, tag, result, bufferWord);

        public int CopyFromRequest(int tag, Span<byte> destination) =>
            _file.ReadAt(destination, UserCopyPosition(tag));

        public int CopyToRequest(int tag, ReadOnlySpan<byte> source) =>
            _file.WriteAt(source, UserCopyPosition(tag));

        public void OnCompletion(ulong token, int result, CompletionFlags flags) =>
            Sink!.OnCommandCompleted((int)token, result);

        public void Dispose()
        {
            if (_descriptors.IsClosed)
            {
                return;
            }

            _loop.Files.Unregister(_ringFile);
            _loop.Unreserve(_depth);
            _descriptors.Dispose();
        }

        private void Command(uint opcode, int tag, int result, ulong bufferWord)
        {
            ulong word = (ushort)_queueId | (ulong)(ushort)tag << 16 | (ulong)(uint)result << 32;
            _loop.Submit(Entries.Command(_ringFile, opcode, bufferWord, word, 0), this, (ulong)tag);
        }

        private long UserCopyPosition(int tag) => UblkAbi.UserCopyOffset +
            ((long)_queueId << UblkAbi.QueueShift) + ((long)tag << UblkAbi.TagShift);
    }
}

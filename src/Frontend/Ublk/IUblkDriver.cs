namespace Ublk.Frontend.Ublk;

/// <summary>
/// The ublk driver as devices see it: control commands, each bounded in time, and the character device.
/// Control members answer 0 or −errno, −ETIME when the time was over. The real one is
/// <see cref="KernelUblkDriver"/>; tests have a fake one.
/// </summary>
public interface IUblkDriver : IDisposable
{
    /// <summary>What the driver can do; its own result on kernels before 6.5.</summary>
    /// <param name="features">The features.</param>
    int GetFeatures(out UblkFeatures features);

    /// <summary>Adds a device; granted flags and limits come back in the structure.</summary>
    /// <param name="info">Wanted in, granted out.</param>
    int Add(ref UblkDeviceInfo info);

    /// <summary>Sets the block-layer parameters of a device that is not started.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="parameters">Parameters.</param>
    int SetParameters(int deviceId, in UblkParameters parameters);

    /// <summary>Reads the parameters.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="parameters">Parameters.</param>
    int GetParameters(int deviceId, out UblkParameters parameters);

    /// <summary>Reads state and flags; −ENODEV when there is no such device.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="info">State and flags.</param>
    int GetInfo(int deviceId, out UblkDeviceInfo info);

    /// <summary>Makes the block device appear; waits until every tag is fetched.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="serverPid">This process.</param>
    int Start(int deviceId, int serverPid);

    /// <summary>Removes the block device; waits for requests in our hands.</summary>
    /// <param name="deviceId">Device.</param>
    int Stop(int deviceId);

    /// <summary>As Stop, but −EBUSY while it is open; −EOPNOTSUPP before 7.0.</summary>
    /// <param name="deviceId">Device.</param>
    int TryStop(int deviceId);

    /// <summary>Deletes a stopped device.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="isAsync">Return at once; the rest happens when the last reference is gone.</param>
    int Delete(int deviceId, bool isAsync);

    /// <summary>Changes the size. Only for a live device: earlier it crashes kernels before 7.2.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="sectors">New size in 512-byte sectors.</param>
    int UpdateSize(int deviceId, ulong sectors);

    /// <summary>Holds new requests back in the kernel, for an upgrade of the server.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="limit">Longest wait in the driver.</param>
    int Quiesce(int deviceId, TimeSpan limit);

    /// <summary>Opens a device for a new server; −EBUSY until the old one is entirely gone.</summary>
    /// <param name="deviceId">Device.</param>
    int StartRecovery(int deviceId);

    /// <summary>Completes the take-over; waits until every tag is fetched.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="serverPid">This process.</param>
    int EndRecovery(int deviceId, int serverPid);

    /// <summary>Opens the character device; one opener at a time.</summary>
    /// <param name="deviceId">Device.</param>
    /// <param name="device">The open device, null on failure.</param>
    int OpenDevice(int deviceId, out IUblkCharDevice? device);

    /// <summary>Numbers of the devices that exist, ascending.</summary>
    IReadOnlyList<int> ListDevices();

    /// <summary>Whether another process holds the block device (a mount, an exclusive open).</summary>
    /// <param name="deviceId">Device.</param>
    bool IsInUse(int deviceId);
}

/// <summary>An open character device.</summary>
public interface IUblkCharDevice : IDisposable
{
    /// <summary>Joins a queue to the calling loop thread, which becomes the owner of its tags.</summary>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="queueId">Queue.</param>
    /// <param name="depth">Depth.</param>
    IUblkQueueDriver OpenQueue(global::Ublk.Uring.Loop loop, int queueId, int depth);
}

/// <summary>Data commands of one queue; used on the loop's thread only.</summary>
public interface IUblkQueueDriver : IDisposable
{
    /// <summary>Who hears of command completions; set before the first command.</summary>
    IUblkCommandSink? Sink { get; set; }

    /// <summary>The request of a tag; stable from the completion of its fetch to its commit.</summary>
    /// <param name="tag">Tag.</param>
    UblkIoDescriptor Descriptor(int tag);

    /// <summary>Offers a tag to the kernel for the first time.</summary>
    /// <param name="tag">Tag.</param>
    /// <param name="bufferWord">Auto-buffer word, 0 without.</param>
    void Fetch(int tag, ulong bufferWord);

    /// <summary>Answers the tag's request and offers the tag again.</summary>
    /// <param name="tag">Tag.</param>
    /// <param name="result">Full length, 0, or −errno; nothing between.</param>
    /// <param name="bufferWord">Auto-buffer word for the next request.</param>
    void Commit(int tag, int result, ulong bufferWord);

    /// <summary>Copies a write's payload out of the request; bytes or −errno.</summary>
    /// <param name="tag">Tag.</param>
    /// <param name="destination">Where it goes.</param>
    int CopyFromRequest(int tag, Span<byte> destination);

    /// <summary>Copies a read's payload into the request; bytes or −errno.</summary>
    /// <param name="tag">Tag.</param>
    /// <param name="source">The bytes.</param>
    int CopyToRequest(int tag, ReadOnlySpan<byte> source);
}

/// <summary>Hears of completed fetch and commit commands.</summary>
public interface IUblkCommandSink
{
    /// <summary>A command of a tag completed.</summary>
    /// <param name="tag">Tag.</param>
    /// <param name="result">0: a request is there; −ENODEV: the end; other: refused.</param>
    void OnCommandCompleted(int tag, int result);
}

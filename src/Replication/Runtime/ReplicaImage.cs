using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Replication.Runtime;

/// <summary>Hears of the end of operations on a replica's image.</summary>
internal interface IReplicaImageOwner
{
    /// <summary>An operation ended.</summary>
    /// <param name="operation">As it was asked for; of a range of zeros, what was left at the end.</param>
    /// <param name="result">Bytes of a read or write, 0 of another operation, or −errno.</param>
    void OnImageOperationEnded(in ImageOperation operation, int result);
}

/// <summary>What is done to an image.</summary>
internal enum ImageAction : byte
{
    Read,
    /// <summary>A read of the host, answered to the writer of the same process.</summary>
    HostRead,
    Write,
    Sync,
    /// <summary>Zeros whose space is given back.</summary>
    Punch,
    /// <summary>Zeros that keep their space.</summary>
    Zero,
    /// <summary>Zeros that are written, where the filesystem can do neither.</summary>
    Fill,
}

/// <summary>One operation on an image.</summary>
/// <param name="Action">What.</param>
/// <param name="Name">As its asker named it.</param>
/// <param name="OffsetBytes">Start; 0 for a sync.</param>
/// <param name="LengthBytes">Length; 0 for a sync.</param>
/// <param name="Buffer">Bytes of a read or write.</param>
internal readonly record struct ImageOperation(
    ImageAction Action, ulong Name, long OffsetBytes, long LengthBytes, IoBuffer Buffer);

/// <summary>
/// The image of one replica on the loop: so many operations at once as the loop has set aside for it, the
/// others in line. An operation that failed is never tried again, least of all a sync; only how zeros are
/// made is found out by trying. No allocation per operation once the line has been as long as it gets.
/// Used on the loop's thread.
/// </summary>
internal sealed class ReplicaImage : IDisposable
{
    /// <summary>Operations with the kernel at once: more than a disk takes at a time.</summary>
    public const int MaxInFlight = 256;

    private const int FillBytes = 256 << 10;

    private readonly BlockFile<Ending> _file;
    private readonly IReplicaImageOwner _owner;
    private readonly Queue<ImageOperation> _waiting = new(MaxInFlight);
    private readonly MemoryMapping _zeros = MemoryMapping.Allocate(FillBytes);
    private bool _canPunch;
    private bool _canZero = true;

    /// <summary>Puts an image on a loop.</summary>
    /// <param name="image">The image; owned from now on, but not when this throws.</param>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="owner">Hears of what ends.</param>
    /// <exception cref="LoopFullException">The loop has no room.</exception>
    public ReplicaImage(BlockImage image, Loop loop, IReplicaImageOwner owner)
    {
        _owner = owner;
        _canPunch = image.CanPunchHole;
        _file = new BlockFile<Ending>(image, loop, MaxInFlight, isInTable: false);
    }

    /// <summary>Operations with the kernel.</summary>
    public int InFlightCount { get; private set; }

    /// <summary>Starts an operation, or puts it in line.</summary>
    /// <param name="operation">It; its bytes stay as they are until the end.</param>
    public void Start(in ImageOperation operation)
    {
        if (InFlightCount == MaxInFlight)
        {
            _waiting.Enqueue(operation);
            return;
        }

        InFlightCount++;
        Issue(operation);
    }

    /// <summary>Takes an operation that the kernel does not have yet out of the line.</summary>
    /// <param name="operation">The oldest.</param>
    public bool TryTakeWaiting(out ImageOperation operation) => _waiting.TryDequeue(out operation);

    /// <summary>Leaves the loop and closes the image; nothing may be with the kernel.</summary>
    public void Dispose()
    {
        _file.Dispose();
        _zeros.Dispose();
    }

    private void Issue(in ImageOperation wanted)
    {
        ImageOperation operation = wanted;
        if (operation.Action == ImageAction.Punch && !_canPunch)
        {
            operation = operation with { Action = ImageAction.Zero };
        }

        if (operation.Action == ImageAction.Zero && !_canZero)
        {
            operation = operation with { Action = ImageAction.Fill };
        }

        var ending = new Ending(this, operation);
        switch (operation.Action)
        {
            case ImageAction.Read or ImageAction.HostRead:
                _file.Read(operation.Buffer, operation.OffsetBytes, ending);
                break;
            case ImageAction.Write:
                _file.Write(operation.Buffer, operation.OffsetBytes, dataSync: false, ending);
                break;
            case ImageAction.Sync:
                _file.DataSync(ending);
                break;
            case ImageAction.Punch:
                _file.PunchHole(operation.OffsetBytes, operation.LengthBytes, ending);
                break;
            case ImageAction.Zero:
                _file.ZeroRange(operation.OffsetBytes, operation.LengthBytes, ending);
                break;
            default:
                int length = (int)Math.Min(FillBytes, operation.LengthBytes);
                _file.Write(_zeros.Slice(0, length), operation.OffsetBytes, dataSync: false, ending);
                break;
        }
    }

    private void OnEnded(in ImageOperation operation, int result)
    {
        if (result == -Errno.EOPNOTSUPP && operation.Action is ImageAction.Punch or ImageAction.Zero)
        {
            _canPunch &= operation.Action != ImageAction.Punch;
            _canZero &= operation.Action != ImageAction.Zero;
            Issue(operation);
            return;
        }

        long left = operation.LengthBytes - FillBytes;
        if (result == 0 && operation.Action == ImageAction.Fill && left > 0)
        {
            Issue(operation with { OffsetBytes = operation.OffsetBytes + FillBytes, LengthBytes = left });
            return;
        }

        InFlightCount--;
        if (_waiting.TryDequeue(out ImageOperation next))
        {
            InFlightCount++;
            Issue(next);
        }

        bool hasBytes = operation.Action is ImageAction.Read or ImageAction.HostRead or ImageAction.Write;
        _owner.OnImageOperationEnded(
            operation, result == 0 && hasBytes ? operation.Buffer.LengthBytes : result);
    }

    private readonly struct Ending(ReplicaImage image, ImageOperation operation) : IFileCompletion
    {
        public void OnFileCompleted(int result) => image.OnEnded(operation, result);
    }
}

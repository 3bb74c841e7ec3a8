using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// Raw-image I/O on a loop: a regular file or a block device, past the page cache where that is
/// possible. Reads and writes answer 0 only when every byte moved; a short transfer is carried on, and
/// one that cannot be is −EIO. No allocation per operation. Owned by the loop's thread once attached.
/// </summary>
public sealed class BlockFile : IRingCompletion, IDisposable
{
    private const int NoSlot = -1;

    private readonly FileHandle _file;
    private readonly Transfer[] _transfers;
    private readonly Loop _loop;
    private readonly RingFile _ringFile;
    private int _freeHead;
    private bool _isDisposed;

    /// <summary>Attaches an opened file to a loop.</summary>
    /// <param name="image">The opened image; owned from now on, but not when this throws.</param>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="maxOperations">Operations in flight at once; reserved on the loop.</param>
    /// <exception cref="LoopFullException">The loop has no room.</exception>
    public BlockFile(BlockImage image, Loop loop, int maxOperations)
    {
        loop.Reserve(maxOperations);
        Image = image;
        _file = image.File;
        _loop = loop;
        _ringFile = loop.Files.Register(_file);
        _transfers = new Transfer[maxOperations];
        for (int i = 0; i < maxOperations; i++)
        {
            _transfers[i].Next = i + 1 < maxOperations ? i + 1 : NoSlot;
        }
    }

    /// <summary>What was opened.</summary>
    public BlockImage Image { get; }

    /// <summary>Transfers that had to be carried on because the kernel moved a part only.</summary>
    public long ShortTransferCount { get; private set; }

    /// <summary>Reads into a buffer; completes with 0 or −errno.</summary>
    /// <param name="buffer">Where the bytes go; all of it is filled.</param>
    /// <param name="offsetBytes">Offset in the image.</param>
    /// <param name="handler">Who hears of the completion.</param>
    /// <param name="token">Handed back with it.</param>
    public void Read(in IoBuffer buffer, long offsetBytes, IRingCompletion handler, ulong token) =>
        Start(TransferKind.Read, buffer, offsetBytes, handler, token);

    /// <summary>Writes a buffer; completes with 0 or −errno.</summary>
    /// <param name="buffer">The bytes; unchanged until completion.</param>
    /// <param name="offsetBytes">Offset in the image.</param>
    /// <param name="dataSync">Complete only when the bytes are on stable media.</param>
    /// <param name="handler">Who hears of the completion.</param>
    /// <param name="token">Handed back with it.</param>
    public void Write(
        in IoBuffer buffer, long offsetBytes, bool dataSync, IRingCompletion handler, ulong token) =>
        Start(dataSync ? TransferKind.WriteSync : TransferKind.Write, buffer, offsetBytes, handler, token);

    /// <summary>Brings all completed writes to stable media; completes with 0 or −errno.</summary>
    /// <param name="handler">Who hears of the completion.</param>
    /// <param name="token">Handed back with it.</param>
    public void DataSync(IRingCompletion handler, ulong token)
    {
        int slot = Rent(handler, token);
        _loop.Submit(Entries.DataSync(_ringFile), this, (ulong)slot);
    }

    /// <summary>
    /// Makes a range read as zeros and gives its space back. 0, or −EOPNOTSUPP where the filesystem or
    /// device cannot.
    /// </summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="handler">Who hears of the completion.</param>
    /// <param name="token">Handed back with it.</param>
    public void PunchHole(
        long offsetBytes, long lengthBytes, IRingCompletion handler, ulong token) =>
        Allocate(FallocateModes.PunchHole | FallocateModes.KeepSize, offsetBytes, lengthBytes,
            handler, token);

    /// <summary>
    /// Makes a range read as zeros and keeps its space. 0, or −EOPNOTSUPP where the filesystem or device
    /// cannot.
    /// </summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="handler">Who hears of the completion.</param>
    /// <param name="token">Handed back with it.</param>
    public void ZeroRange(
        long offsetBytes, long lengthBytes, IRingCompletion handler, ulong token) =>
        Allocate(FallocateModes.ZeroRange | FallocateModes.KeepSize, offsetBytes, lengthBytes,
            handler, token);

    /// <inheritdoc/>
    void IRingCompletion.OnCompletion(ulong token, int result, CompletionFlags flags)
    {
        ref Transfer transfer = ref _transfers[(int)token];
        if (result is -Errno.EINTR or -Errno.EAGAIN && transfer.Kind != TransferKind.None)
        {
            Issue((int)token); // A worker was disturbed before it moved anything.
            return;
        }

        if (result > 0 && transfer.Kind != TransferKind.None)
        {
            int left = transfer.Buffer.LengthBytes - result;
            bool canGoOn = left > 0 &&
                (result & (Image.DirectAlignBytes - 1)) == 0;
            if (canGoOn)
            {
                ShortTransferCount++;
                transfer.Buffer = transfer.Buffer.Slice(result, left);
                transfer.OffsetBytes += result;
                Issue((int)token);
                return;
            }

            result = left == 0 ? 0 : -Errno.EIO;
        }
        else if (result == 0 && transfer.Kind != TransferKind.None)
        {
            result = -Errno.EIO; // The image ended: shorter than the volume.
        }

        IRingCompletion handler = transfer.Handler!;
        ulong callerToken = transfer.Token;
        transfer.Handler = null;
        transfer.Next = _freeHead;
        _freeHead = (int)token;
        handler.OnCompletion(callerToken, result, CompletionFlags.None);
    }

    /// <summary>Leaves the loop and closes the image; nothing may be in flight.</summary>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        _loop.Files.Unregister(_ringFile);
        _loop.Unreserve(_transfers.Length);
        Image.Dispose();
    }

    private void Start(
        TransferKind kind, in IoBuffer buffer, long offsetBytes, IRingCompletion handler, ulong token)
    {
        int slot = Rent(handler, token);
        ref Transfer transfer = ref _transfers[slot];
        transfer.Kind = kind;
        transfer.Buffer = buffer;
        transfer.OffsetBytes = offsetBytes;
        Issue(slot);
    }

    private void Issue(int slot)
    {
        ref Transfer transfer = ref _transfers[slot];
        SubmissionEntry entry = transfer.Kind == TransferKind.Read
            ? Entries.Read(_ringFile, transfer.Buffer, transfer.OffsetBytes)
            : Entries.Write(_ringFile, transfer.Buffer, transfer.OffsetBytes,
                transfer.Kind == TransferKind.WriteSync);
        _loop.Submit(entry, this, (ulong)slot);
    }

    private void Allocate(
        FallocateModes mode, long offsetBytes, long lengthBytes, IRingCompletion handler, ulong token)
    {
        int slot = Rent(handler, token);
        _loop.Submit(
            Entries.Allocate(_ringFile, mode, offsetBytes, lengthBytes), this, (ulong)slot);
    }

    private int Rent(IRingCompletion handler, ulong token)
    {
        int slot = _freeHead;
        if (slot == NoSlot)
        {
            throw new InvalidOperationException("more image operations in flight than were reserved");
        }

        ref Transfer transfer = ref _transfers[slot];
        _freeHead = transfer.Next;
        transfer.Handler = handler;
        transfer.Token = token;
        transfer.Kind = TransferKind.None;
        return slot;
    }

    private enum TransferKind : byte
    {
        None,
        Read,
        Write,
        WriteSync,
    }

    private struct Transfer
    {
        public IRingCompletion? Handler;
        public ulong Token;
        public long OffsetBytes;
        public IoBuffer Buffer;
        public TransferKind Kind;
        public int Next;
    }
}

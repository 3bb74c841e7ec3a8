using Ublk.Uring.Abi;
using Ublk.Uring.Native;

namespace Ublk.Uring;

/// <summary>
/// What follows when an operation of a <see cref="BlockFile{TCompletion}"/> has ended: a value that lies in
/// the operation's slot meanwhile and knows whom to tell.
/// </summary>
public interface IFileCompletion
{
    /// <summary>The operation ended; on the loop's thread, exactly once.</summary>
    /// <param name="result">0 when all of it was done, otherwise −errno.</param>
    void OnFileCompleted(int result);
}

/// <summary>
/// Raw-image I/O on a loop: a regular file or a device, past the page cache where that is possible.
/// Reads and writes answer 0 only when every byte moved; a short transfer is carried on, and one that
/// cannot be is −EIO. No allocation per operation. Owned by the loop's thread once attached.
/// </summary>
/// <typeparam name="TCompletion">What follows an operation.</typeparam>
public sealed class BlockFile<TCompletion> : IRingCompletion, IDisposable
    where TCompletion : struct, IFileCompletion
{
    private readonly FileHandle _file;
    private readonly int _alignBytes;
    private readonly SlotTable<Transfer> _transfers;
    private readonly Loop _loop;
    private readonly RingFile _ringFile;
    private bool _isDisposed;

    /// <summary>Attaches an opened image to a loop.</summary>
    /// <param name="image">The image; owned from now on, but not when this throws.</param>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="maxOperations">Operations in flight at once; reserved on the loop.</param>
    /// <param name="isInTable">
    /// Whether the loop's table names it, which saves a look-up per operation. Kernels before 6.13 let a file
    /// that has left the table go only when everything older that uses the table has ended, the waiting
    /// commands of a device among it: so not for a file that must be closed while the loop goes on.
    /// </param>
    /// <exception cref="LoopFullException">The loop has no room.</exception>
    public BlockFile(BlockImage image, Loop loop, int maxOperations, bool isInTable = true)
        : this(image.File, image.DirectAlignBytes, loop, maxOperations, isInTable)
    {
    }

    /// <summary>Attaches another open file to a loop; any offset and length will do for it.</summary>
    /// <param name="file">The file; owned from now on, but not when this throws.</param>
    /// <param name="loop">The loop; the caller is its thread.</param>
    /// <param name="maxOperations">Operations in flight at once; reserved on the loop.</param>
    /// <exception cref="LoopFullException">The loop has no room.</exception>
    public BlockFile(FileHandle file, Loop loop, int maxOperations)
        : this(file, alignBytes: 1, loop, maxOperations, isInTable: true)
    {
    }

    private BlockFile(FileHandle file, int alignBytes, Loop loop, int maxOperations, bool isInTable)
    {
        loop.Reserve(maxOperations);
        _file = file;
        _alignBytes = alignBytes;
        _loop = loop;
        _ringFile = isInTable ? loop.Files.Register(file) : RingFile.Of(file);
        _transfers = new SlotTable<Transfer>(maxOperations, "image operations");
    }

    /// <summary>Transfers that had to be carried on because the kernel moved a part only.</summary>
    public long ShortTransferCount { get; private set; }

    /// <summary>Reads into a buffer; completes with 0 or −errno.</summary>
    /// <param name="buffer">Where the bytes go; all of it is filled.</param>
    /// <param name="offsetBytes">Offset in the file.</param>
    /// <param name="completion">What follows.</param>
    public void Read(in IoBuffer buffer, long offsetBytes, in TCompletion completion) =>
        Start(TransferKind.Read, buffer, offsetBytes, completion);

    /// <summary>Writes a buffer; completes with 0 or −errno.</summary>
    /// <param name="buffer">The bytes; unchanged until completion.</param>
    /// <param name="offsetBytes">Offset in the file.</param>
    /// <param name="dataSync">Complete only when the bytes are on stable media.</param>
    /// <param name="completion">What follows.</param>
    public void Write(
        in IoBuffer buffer, long offsetBytes, bool dataSync, in TCompletion completion) =>
        Start(dataSync ? TransferKind.WriteSync : TransferKind.Write, buffer, offsetBytes, completion);

    /// <summary>Brings all completed writes to stable media; completes with 0 or −errno.</summary>
    /// <param name="completion">What follows.</param>
    public void DataSync(in TCompletion completion)
    {
        int slot = Rent(completion);
        _loop.Submit(Entries.DataSync(_ringFile), this, (ulong)slot);
    }

    /// <summary>
    /// Makes a range read as zeros and gives its space back. 0, or −EOPNOTSUPP where the filesystem or
    /// device cannot.
    /// </summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="completion">What follows.</param>
    public void PunchHole(
        long offsetBytes, long lengthBytes, in TCompletion completion) =>
        Allocate(FallocateModes.PunchHole | FallocateModes.KeepSize, offsetBytes, lengthBytes,
            completion);

    /// <summary>
    /// Makes a range read as zeros and keeps its space. 0, or −EOPNOTSUPP where the filesystem or device
    /// cannot.
    /// </summary>
    /// <param name="offsetBytes">Start.</param>
    /// <param name="lengthBytes">Length.</param>
    /// <param name="completion">What follows.</param>
    public void ZeroRange(
        long offsetBytes, long lengthBytes, in TCompletion completion) =>
        Allocate(FallocateModes.ZeroRange | FallocateModes.KeepSize, offsetBytes, lengthBytes,
            completion);

    /// <inheritdoc/>
    void IRingCompletion.OnCompletion(ulong token, int result, CompletionFlags flags)
    {
        int slot = (int)token;
        ref Transfer transfer = ref _transfers[slot];
        if (result is -Errno.EINTR or -Errno.EAGAIN && transfer.Kind != TransferKind.None)
        {
            Issue(slot); // A worker was disturbed before it moved anything.
            return;
        }

        if (result > 0 && transfer.Kind != TransferKind.None)
        {
            int left = transfer.Buffer.LengthBytes - result;
            bool canGoOn = left > 0 && (result & (_alignBytes - 1)) == 0;
            if (canGoOn)
            {
                ShortTransferCount++;
                transfer.Buffer = transfer.Buffer.Slice(result, left);
                transfer.OffsetBytes += result;
                Issue(slot);
                return;
            }

            result = left == 0 ? 0 : -Errno.EIO;
        }
        else if (result == 0 && transfer.Kind != TransferKind.None)
        {
            result = -Errno.EIO; // The image ended: shorter than the volume.
        }

        TCompletion completion = transfer.Completion;
        _transfers.Return(slot);
        completion.OnFileCompleted(result);
    }

    /// <summary>Leaves the loop and closes the file; nothing may be in flight.</summary>
    public void Dispose()
    {
        if (_isDisposed)
        {
            return;
        }

        _isDisposed = true;
        _loop.Files.Unregister(_ringFile);
        _loop.Unreserve(_transfers.Capacity);
        _file.Dispose();
    }

    private void Start(
        TransferKind kind, in IoBuffer buffer, long offsetBytes, in TCompletion completion)
    {
        ref Transfer transfer = ref _transfers.Rent(out int slot);
        transfer.Completion = completion;
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
        FallocateModes mode, long offsetBytes, long lengthBytes, in TCompletion completion)
    {
        int slot = Rent(completion);
        _loop.Submit(
            Entries.Allocate(_ringFile, mode, offsetBytes, lengthBytes), this, (ulong)slot);
    }

    private int Rent(in TCompletion completion)
    {
        _transfers.Rent(out int slot).Completion = completion;
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
        public TCompletion Completion;
        public long OffsetBytes;
        public IoBuffer Buffer;
        public TransferKind Kind;
    }
}

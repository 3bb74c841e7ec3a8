using Ublk.Uring;
using Ublk.Wire.Blocks;

namespace Ublk.Testing;

/// <summary>
/// A disk in a byte array that does what the ring would do with a fake device's requests:
/// registered places are looked up when an operation starts and hold the request until it ends.
/// Completes at once, or when the test says so; meanwhile it watches that nobody touches the memory
/// it was lent. Used on one thread.
/// </summary>
public sealed class ModelTarget : IBlockTarget
{
    private readonly FakeUblkDriver? _driver;
    private readonly Loop? _loop;
    private readonly List<Operation> _pending = [];

    /// <summary>Makes a disk of zeros.</summary>
    /// <param name="sizeBytes">Size.</param>
    /// <param name="limits">What it claims to be.</param>
    /// <param name="driver">Whose requests registered places hold; null when there are
    /// none.</param>
    /// <param name="loop">The loop whose table it is.</param>
    public ModelTarget(
        long sizeBytes, BlockLimits? limits = null, FakeUblkDriver? driver = null,
        Loop? loop = null)
    {
        Limits = limits ?? new BlockLimits();
        Bytes = new byte[sizeBytes];
        SizeBytes = sizeBytes;
        _driver = driver;
        _loop = loop;
    }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <inheritdoc/>
    public long SizeBytes { get; private set; }

    /// <summary>The disk.</summary>
    public byte[] Bytes { get; private set; }

    /// <summary>Requests wait for <see cref="Complete"/>.</summary>
    public bool IsManual { get; set; }

    /// <summary>Outcome of requests that complete at once.</summary>
    public BlockStatus Status { get; set; }

    /// <summary>Whether reads have to come through memory: those with registered buffers only are refused.
    /// </summary>
    public bool NeedsMemory { get; set; }

    /// <summary>Requests that wait.</summary>
    public int InFlightCount => _pending.Count;

    /// <summary>Most requests that waited at once.</summary>
    public int PeakInFlightCount { get; private set; }

    /// <summary>Requests so far.</summary>
    public long SubmitCount { get; private set; }

    /// <summary>The last request.</summary>
    public BlockRequest Last { get; private set; }

    /// <summary>Operations on a registered place that the kernel would have refused.</summary>
    public int RefusedPinCount { get; private set; }

    /// <summary>Whether it was disposed.</summary>
    public bool IsDisposed { get; private set; }

    /// <summary>Makes the disk larger behind the frontend's back.</summary>
    /// <param name="sizeBytes">New size; seen after <see cref="RefreshSize"/>.</param>
    public void Grow(long sizeBytes)
    {
        byte[] bytes = Bytes;
        Array.Resize(ref bytes, checked((int)sizeBytes));
        Bytes = bytes;
    }

    /// <inheritdoc/>
    public long RefreshSize() => SizeBytes = Bytes.Length;

    /// <inheritdoc/>
    public void Submit(in BlockRequest request, IBlockCompletion completion)
    {
        ObjectDisposedException.ThrowIf(IsDisposed, this);
        SubmitCount++;
        Last = request;
        if (request.Operation != BlockOperation.Flush &&
            !Limits.Contains(request.OffsetBytes, request.LengthBytes, SizeBytes))
        {
            throw new InvalidOperationException($"not in the volume: {request}");
        }

        var operation = new Operation { Request = request, Completion = completion };
        if (!request.Buffer.IsMemory)
        {
            bool isRead = request.Operation == BlockOperation.Read;
            if (_driver!.Pin(_loop!, request.Buffer, isRead, out operation.Pinned) < 0)
            {
                RefusedPinCount++;
                completion.OnBlockCompleted(request.Token, BlockStatus.IoError);
                return;
            }
        }

        if (!IsManual)
        {
            bool isRefused = NeedsMemory && request.Operation == BlockOperation.Read &&
                !request.Buffer.IsMemory;
            End(operation, isRefused ? BlockStatus.NeedsMemory : Status);
            return;
        }

        Lend(ref operation);
        _pending.Add(operation);
        PeakInFlightCount = Math.Max(PeakInFlightCount, _pending.Count);
        if (_pending.Count > Limits.MaxRequests)
        {
            throw new InvalidOperationException("more requests than the target takes");
        }
    }

    /// <summary>Ends one of the waiting requests.</summary>
    /// <param name="index">Which, 0 is the oldest.</param>
    /// <param name="status">Outcome; only with Ok are bytes moved.</param>
    public void Complete(int index = 0, BlockStatus status = BlockStatus.Ok)
    {
        Operation operation = _pending[index];
        _pending.RemoveAt(index);
        End(operation, status);
    }

    /// <summary>A waiting request.</summary>
    /// <param name="index">Which, 0 is the oldest.</param>
    public BlockRequest Pending(int index) => _pending[index].Request;

    /// <summary>Ends all waiting requests, and those that come meanwhile.</summary>
    /// <param name="status">Outcome.</param>
    public void CompleteAll(BlockStatus status = BlockStatus.Ok)
    {
        while (_pending.Count > 0)
        {
            Complete(0, status);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => IsDisposed = true;

    private static void Lend(ref Operation operation)
    {
        BlockRequest request = operation.Request;
        if (!request.Buffer.IsMemory || request.Buffer.LengthBytes == 0)
        {
            return;
        }

        if (request.Operation == BlockOperation.Read)
        {
            operation.Guard = (byte)(1 + request.Token % 251);
            request.Buffer.Span.Fill(operation.Guard);
        }
        else if (request.Operation == BlockOperation.Write)
        {
            operation.Snapshot = request.Buffer.Span.ToArray();
        }
    }

    // A place may be empty by now, but it may never hold another request while this one is under
    // way.
    private void CheckLoan(in Operation operation)
    {
        IoBuffer buffer = operation.Request.Buffer;
        bool isIntact = operation switch
        {
            { Pinned: { } pinned } =>
                _driver!.RegisteredAt(_loop!, buffer.TableIndex) is not { } now ||
                ReferenceEquals(now, pinned),
            { Snapshot: { } snapshot } => buffer.Span.SequenceEqual(snapshot),
            { Guard: > 0 } => buffer.Span.IndexOfAnyExcept(operation.Guard) < 0,
            _ => true,
        };
        if (!isIntact)
        {
            throw new InvalidOperationException(
                $"the buffer of {operation.Request} was given to another request meanwhile");
        }
    }

    private void End(Operation operation, BlockStatus status)
    {
        CheckLoan(operation);
        BlockRequest request = operation.Request;
        if (status == BlockStatus.Ok && request.Operation != BlockOperation.Flush)
        {
            Span<byte> range = Bytes.AsSpan((int)request.OffsetBytes, (int)request.LengthBytes);
            switch (request.Operation)
            {
                case BlockOperation.Read:
                    range.CopyTo(Memory(operation));
                    break;
                case BlockOperation.Write:
                    Memory(operation).CopyTo(range);
                    break;
                default:
                    range.Clear();
                    break;
            }
        }

        if (operation.Pinned is not null)
        {
            _driver!.Unpin(operation.Pinned);
        }

        operation.Completion.OnBlockCompleted(request.Token, status);
    }

    private static Span<byte> Memory(in Operation operation) => operation.Pinned is null
        ? operation.Request.Buffer.Span
        : operation.Pinned.Pages[..operation.Request.Buffer.LengthBytes];

    private struct Operation
    {
        public BlockRequest Request;
        public IBlockCompletion Completion;
        public FakeBlockRequest? Pinned;
        public byte[]? Snapshot;
        public byte Guard;
    }
}

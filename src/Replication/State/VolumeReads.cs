using Ublk.Wire.Blocks;

namespace Ublk.Replication.State;

/// <summary>
/// Reads of the host. A byte is shown only when no later recovery can find an older one: no operation on
/// its range is without its quorum when the source is asked, none begins before it has answered, and then
/// the lease still runs (replication design, section 4.5 and rules 12 and 13).
/// </summary>
internal sealed class VolumeReads
{
    // What a disk loses, and what has a checksum, is not smaller.
    private const int PieceBytes = 4096;

    private readonly HostRequests _requests;
    private readonly VolumeWrites _writes;
    private readonly ReplicaTable _replicas;
    private readonly IVolumeEffects _effects;
    private readonly Queue<ulong> _waiting;
    private readonly RangeIndex _reading;
    private readonly int _local;
    private readonly bool _isChecked;

    /// <summary>No reads yet.</summary>
    /// <param name="requests">The host's requests.</param>
    /// <param name="writes">Knows which ranges are without their quorum.</param>
    /// <param name="replicas">Knows the lease.</param>
    /// <param name="capacity">Most requests at once.</param>
    /// <param name="reading">Ranges that are being read.</param>
    /// <param name="local">Place of the local replica; −1 without one.</param>
    /// <param name="isChecked">Whether the local replica is asked like a peer: it has checksums.</param>
    /// <param name="effects">The surroundings.</param>
    public VolumeReads(
        HostRequests requests, VolumeWrites writes, ReplicaTable replicas, int capacity, RangeIndex reading,
        int local, bool isChecked, IVolumeEffects effects)
    {
        _isChecked = isChecked;
        _requests = requests;
        _writes = writes;
        _replicas = replicas;
        _effects = effects;
        _local = local;
        _reading = reading;
        _waiting = new Queue<ulong>(capacity);
    }

    /// <summary>Takes a read as far as it can go now.</summary>
    /// <param name="id">The request.</param>
    /// <param name="now">The clock.</param>
    public void Continue(ulong id, long now)
    {
        if (!_requests.TryFind(id, out int slot))
        {
            return; // Its time was over while it waited.
        }

        ref HostRequest request = ref _requests[slot];
        if (!request.HasBytes && !Mistakes.Make(Mistake.ReadBeforeQuorum) &&
            _writes.TryWaitForQuorum(id, ref request))
        {
            return;
        }

        if (now >= _replicas.LeaseUntil && !Mistakes.Make(Mistake.LeaseIgnored) &&
            !(request.HasBytes && Mistakes.Make(Mistake.LeaseNotChecked)))
        {
            _waiting.Enqueue(id);
        }
        else if (request.HasBytes)
        {
            _requests.Answer(slot, BlockStatus.Ok);
        }
        else
        {
            Ask(id, slot);
        }
    }

    /// <summary>The lease may have been renewed, or a source may have come: those who wait go on.</summary>
    /// <param name="now">The clock.</param>
    public void Wake(long now)
    {
        for (int count = _waiting.Count; count > 0 && now < _replicas.LeaseUntil; count--)
        {
            Continue(_waiting.Dequeue(), now);
        }
    }

    /// <summary>Reads that wait for an operation go on, one after the other.</summary>
    /// <param name="first">The first of them.</param>
    /// <param name="now">The clock.</param>
    public void WakeChain(ulong first, long now)
    {
        for (ulong id = first; id != 0;)
        {
            ulong next = 0;
            if (_requests.TryFind(id, out int slot))
            {
                next = _requests[slot].NextWaiter;
                _requests[slot].NextWaiter = 0;
                _requests[slot].WaitsFor = 0;
            }

            Continue(id, now);
            id = next;
        }
    }

    /// <summary>A source has answered, or has gone.</summary>
    /// <param name="id">The request.</param>
    /// <param name="source">The source's place.</param>
    /// <param name="status">How.</param>
    /// <param name="isOver">Nothing is served any more.</param>
    /// <param name="now">The clock.</param>
    public void OnEnded(ulong id, int source, BlockStatus status, bool isOver, long now)
    {
        if (!_requests.TryFind(id, out int slot) || !_requests[slot].IsReading)
        {
            throw new InvalidOperationException($"read {id:x} ended twice");
        }

        ref HostRequest request = ref _requests[slot];
        request.IsReading = false;
        _reading.Remove(slot);
        if (isOver || request.IsOverdue)
        {
            _requests.Answer(slot, isOver ? BlockStatus.Gone : BlockStatus.TimedOut);
            return;
        }

        if (status == BlockStatus.Ok)
        {
            request.ReadBytes += request.AskedBytes;
            request.HasBytes = request.ReadBytes == request.Request.LengthBytes;
            request.Tried = default;
        }
        else if (status != BlockStatus.Gone)
        {
            request.Tried = request.Tried.With(source); // One that is gone may come back.
        }

        Continue(id, now);
    }

    // The local image where it is current, otherwise a replica all of which is. Nobody is asked twice for the
    // same; but what each of them cannot read may be another block. A local replica that was away is asked by
    // message, which waits until it has caught up.
    private void Ask(ulong id, int slot)
    {
        ref HostRequest request = ref _requests[slot];
        BlockRequest read = PartOf(ref request);
        bool isLocal = _local >= 0 && _replicas.Knowing.Has(_local) && !request.Tried.Has(_local) &&
            _effects.CanReadLocally(read.OffsetBytes, read.LengthBytes);
        int source = isLocal ? _local : _replicas.Counting.FirstOutside(request.Tried, _local);
        bool isDirect = isLocal && !_isChecked &&
            (!_writes.IsLocalBehind || Mistakes.Make(Mistake.LocalReadTooEarly));
        if (source >= 0 && !isDirect && !read.Buffer.IsMemory)
        {
            _requests.Answer(slot, BlockStatus.NeedsMemory); // What a replica answers lies in memory first.
        }
        else if (source >= 0)
        {
            request.IsReading = true;
            _reading.Add(slot, 0, read.OffsetBytes, read.LengthBytes);
            if (isDirect)
            {
                _effects.ReadLocally(id, read.OffsetBytes, read.Buffer);
            }
            else
            {
                _effects.ReadFromPeer(source, id, read.OffsetBytes, read.Buffer, _writes.Acknowledged);
            }
        }
        else if (request.Tried.IsEmpty)
        {
            _waiting.Enqueue(id); // Nobody is there; with the next grant somebody may be.
        }
        else if (!request.IsInPieces && request.Request.LengthBytes > PieceBytes)
        {
            request.IsInPieces = true;
            request.Tried = default;
            Ask(id, slot);
        }
        else
        {
            _requests.Answer(slot, BlockStatus.IoError);
        }
    }

    // What is asked for next: all of it, or the rest of a block.
    private static BlockRequest PartOf(ref HostRequest request)
    {
        BlockRequest read = request.Request;
        request.AskedBytes = (int)read.LengthBytes;
        if (!request.IsInPieces)
        {
            return read;
        }

        long offset = read.OffsetBytes + request.ReadBytes;
        long left = read.LengthBytes - request.ReadBytes;
        request.AskedBytes = (int)Math.Min(left, PieceBytes - offset % PieceBytes);
        return read with
        {
            OffsetBytes = offset,
            LengthBytes = request.AskedBytes,
            Buffer = read.Buffer.Slice(request.ReadBytes, request.AskedBytes),
        };
    }
}

using Ublk.Replication.Store;
using Ublk.Tests.Simulation.World;
using Ublk.Uring;
using Ublk.Uring.Native;

namespace Ublk.Tests.Simulation.Cluster;

/// <summary>Writes the first records of a replica.</summary>
internal sealed class ReplicaFormatter(
    SimulatedMetadata metadata, RingLayout layout, long sizeBytes, MemoryMapping record)
    : IMetadataLogEffects
{
    private bool _isWriting;

    public void Run(BootEntry boot)
    {
        var log = new MetadataLog(
            new MetadataState(sizeBytes), layout, LogPosition.Empty,
            record.Slice(0, MetadataRecord.Bytes), this);
        _ = log.Append(boot, MetadataLog.NoToken);
        log.Issue();
        while (_isWriting)
        {
            _isWriting = false;
            log.WriteCompleted(0);
        }
    }

    public void WriteDurably(long offsetBytes, in IoBuffer bytes)
    {
        metadata.Put(offsetBytes, bytes.Span);
        _isWriting = true;
    }

    public void RecordDurable(ulong number)
    {
    }

    public void Completed(ulong token)
    {
    }

    public void MetadataFailed(int result) => throw new InvalidOperationException("format failed");
}

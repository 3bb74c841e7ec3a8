using Ublk.Replication.Store;
using Ublk.Uring;
using Ublk.Uring.Native;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Store;

/// <summary>A log on a metadata file that writes at once.</summary>
internal sealed class FileLog : IMetadataLogEffects, IDisposable
{
    private readonly MemoryMapping _memory = MemoryMapping.Allocate(MetadataRecord.Bytes);
    private readonly FileHandle _file;
    private bool _isWritten;

    public FileLog(string path, OpenedReplica replica)
    {
        _file = FileHandle.Open(path, FileAccess.ReadWrite);
        Log = new MetadataLog(replica.State, replica.Layout, replica.Position,
            _memory.Slice(0, MetadataRecord.Bytes), this);
    }

    public MetadataLog Log { get; }

    public void Append<T>(in T entry) where T : IMetadataEntry, allows ref struct
    {
        Assert.Equal(AppendResult.Queued, Log.Append(entry, MetadataLog.NoToken));
        Log.Issue();
        while (_isWritten)
        {
            _isWritten = false;
            Log.WriteCompleted(0);
        }
    }

    public void WriteDurably(long offsetBytes, in IoBuffer record)
    {
        Assert.Equal(MetadataRecord.Bytes, _file.WriteAt(record.Span, offsetBytes));
        _isWritten = true;
    }

    public void RecordDurable(ulong number)
    {
    }

    public void Completed(ulong token)
    {
    }

    public void MetadataFailed(int result) => Assert.Fail("no write failed");

    public void Dispose()
    {
        _file.Dispose();
        _memory.Dispose();
    }
}

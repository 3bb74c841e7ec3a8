using Ublk.Replication.Store;
using Ublk.Uring.Native;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Replica;

/// <content>Configurations: who decides, and how large the volume is.</content>
public sealed partial class ReplicaMachine
{
    private ReplicaConfiguration? _configuration;
    private int _configurationSession = -1;
    private long _configurationSize;

    /// <summary>The image has been extended, or could not be.</summary>
    /// <param name="result">0, or −errno.</param>
    /// <param name="live">The live page, at its new length.</param>
    /// <param name="now">The clock.</param>
    public void OnImageGrown(int result, LivePage<MappedLiveMemory> live, long now)
    {
        _context.Now = now;
        if (result < 0)
        {
            AnswerConfiguration(
                result == -Errno.ENOSPC ? AnswerStatus.NoSpace : AnswerStatus.IoError);
        }
        else
        {
            _context.Live = live;
            live.Grow(MetadataState.RegionsOf(_configurationSize));
            RecordConfiguration();
        }

        Settle();
    }

    // A volume never shrinks; the image is longer before anything says so.
    private string? TakeConfigure(int session, in Configure configure)
    {
        bool isNewer = configure.Number.Value > (State.Configuration?.Number ?? 0);
        bool isSize = configure.SizeBytes >= State.SizeBytes &&
            configure.SizeBytes <= StoreFormat.MaxVolumeBytes &&
            configure.SizeBytes % _context.Options.BlockBytes == 0;
        if (configure.Epoch.Value != _promises.Current.Epoch || !isSize)
        {
            return "a configuration of another epoch, or of a smaller volume";
        }

        if (_configuration?.Number == configure.Number.Value)
        {
            _configurationSession = session; // Who asked before is gone.
            return null;
        }

        if (!isNewer || _configuration is not null)
        {
            bool isKnown = configure.Number.Value == State.Configuration?.Number;
            _effects.Send(session, new Configured(
                configure.Epoch, configure.Number, isKnown ? AnswerStatus.Ok : AnswerStatus.Busy));
            return null;
        }

        var old = new ReplicaMember[configure.OldReplicas.Count];
        configure.OldReplicas.CopyTo(old);
        var members = new ReplicaMember[configure.NewReplicas.Count];
        configure.NewReplicas.CopyTo(members);
        _configuration = new ReplicaConfiguration(
            configure.Number.Value, old, configure.OldWriteQuorum, members, configure.NewWriteQuorum);
        _configurationSession = session;
        _configurationSize = configure.SizeBytes;
        if (_configurationSize == State.SizeBytes)
        {
            RecordConfiguration();
        }
        else if (RingSpace.IsEnough(_context.Superblock.RingRecords, _configurationSize))
        {
            _effects.GrowImage(ReplicaContext.Name(ReplicaIo.Configuration), _configurationSize);
        }
        else
        {
            AnswerConfiguration(AnswerStatus.NoSpace); // The ring is too short for so large a volume.
        }

        return null;
    }

    private void RecordConfiguration()
    {
        const int Fixed = 64;
        if (_context.Log.BeginBatch(Fixed + _configuration!.EncodedBytes) != AppendResult.Queued)
        {
            AnswerConfiguration(AnswerStatus.NoSpace);
            return;
        }

        _context.Log.AddToBatch(_configuration);
        if (_configurationSize > State.SizeBytes)
        {
            _context.Log.AddToBatch(new SizeEntry(_configurationSize));
        }

        _context.Log.EndBatch(ReplicaContext.Name(ReplicaIo.Configuration));
    }

    private void FinishConfiguration()
    {
        _intents.Grow();
        AnswerConfiguration(AnswerStatus.Ok);
    }

    private void AnswerConfiguration(AnswerStatus status)
    {
        _effects.Send(_configurationSession, new Configured(
            new Epoch(_promises.Current.Epoch), new ConfigurationNumber(_configuration!.Number), status));
        _configuration = null;
        _configurationSession = -1;
    }
}

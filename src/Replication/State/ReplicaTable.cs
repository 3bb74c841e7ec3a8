using Ublk.Wire.Ids;

namespace Ublk.Replication.State;

/// <summary>Where a replica stands, seen from the primary.</summary>
public enum ReplicaStage : byte
{
    /// <summary>No session.</summary>
    Absent,
    /// <summary>A session, but it is not sent operations: too far behind, or a part of it failed.</summary>
    Behind,
    /// <summary>It is sent every operation.</summary>
    InStream,
}

/// <summary>
/// What the primary knows of the replicas of its volume. A replica's own report always replaces what was
/// remembered of it (replication design, rule 20).
/// </summary>
public sealed class ReplicaTable
{
    private readonly ReplicaView[] _replicas = new ReplicaView[ReplicaMask.Places];
    private readonly long[] _durable = new long[ReplicaMask.Places];
    private readonly long[] _grantedUntil = new long[ReplicaMask.Places];

    /// <summary>Knows nobody yet.</summary>
    /// <param name="configuration">Who decides.</param>
    public ReplicaTable(VolumeConfiguration configuration)
    {
        Configuration = configuration;
        Array.Fill(_grantedUntil, long.MinValue);
    }

    /// <summary>Who decides now.</summary>
    public VolumeConfiguration Configuration { get; private set; }

    /// <summary>Replicas that are sent every operation.</summary>
    public ReplicaMask InStream { get; private set; }

    /// <summary>Replicas with a session.</summary>
    public ReplicaMask Connected { get; private set; }

    /// <summary>
    /// Replicas of the stream whose every byte is current: only they count for acknowledgements and flushes.
    /// </summary>
    public ReplicaMask Counting { get; private set; }

    /// <summary>
    /// Replicas of the stream that know durably which of their bytes are stale: what they say is current is.
    /// </summary>
    public ReplicaMask Knowing { get; private set; }

    /// <summary>
    /// Replicas of the stream whose answers do not count before they are whole: they have failed.
    /// </summary>
    public ReplicaMask Doubted { get; private set; }

    /// <summary>
    /// The view: rises whenever a replica counts no more. What is sent from then on is answered by the others
    /// only once they have recorded that.
    /// </summary>
    public View View { get; private set; } = new(1);

    /// <summary>Whether operations can be acknowledged now.</summary>
    public bool HasWriteQuorum => Configuration.HasWriteQuorum(Counting);

    /// <summary>Highest sequence known durable on a write quorum (C); 0 before any.</summary>
    public ulong Committed { get; private set; }

    /// <summary>
    /// What a write quorum of those who count now has on stable media; lower than <see cref="Committed"/>
    /// when others decide than before. Negative while they are none.
    /// </summary>
    public long HeldDurable => Configuration.HighestHeld(_durable, Counting);

    /// <summary>Until when reads may be served, in ticks of the primary's clock.</summary>
    public long LeaseUntil { get; private set; } = long.MinValue;

    /// <summary>One replica.</summary>
    /// <param name="place">Its place.</param>
    public ref readonly ReplicaView this[int place] => ref _replicas[place];

    /// <summary>Changes where a replica stands.</summary>
    /// <param name="place">Its place.</param>
    /// <param name="stage">The new stage.</param>
    /// <param name="isCurrent">Whether all of it is current; only in the stream.</param>
    public void Move(int place, ReplicaStage stage, bool isCurrent)
    {
        bool counts = stage == ReplicaStage.InStream && isCurrent;
        View = Counting.Has(place) && !counts ? new View(View.Value + 1) : View;
        _replicas[place].Stage = stage;
        Connected = Connected.Set(place, stage != ReplicaStage.Absent);
        InStream = InStream.Set(place, stage == ReplicaStage.InStream);
        Counting = Counting.Set(place, counts);
        Knowing = Knowing.Set(place, counts);
        Doubted = Doubted.Set(place, false);
        if (stage == ReplicaStage.Absent)
        {
            _replicas[place].FlushSent = 0;
        }
    }

    /// <summary>A replica of the stream has recorded what is stale there.</summary>
    /// <param name="place">Its place.</param>
    public void Know(int place) => Knowing = Knowing.Set(place, InStream.Has(place));

    /// <summary>Whether the answers of a replica of the stream do not count yet.</summary>
    /// <param name="place">Its place.</param>
    /// <param name="isDoubted">Whether.</param>
    public void Doubt(int place, bool isDoubted) => Doubted = Doubted.Set(place, isDoubted);

    /// <summary>Takes over a replica's report.</summary>
    /// <param name="place">Its place.</param>
    /// <param name="applied">Its A.</param>
    /// <param name="durable">Its D.</param>
    /// <returns>Whether <see cref="Committed"/> rose.</returns>
    public bool Report(int place, ulong applied, ulong durable)
    {
        _replicas[place].Applied = applied;
        _replicas[place].Durable = durable;
        _durable[place] = (long)durable;
        if (!Counting.Has(place) || durable <= Committed)
        {
            return false;
        }

        long held = Configuration.HighestHeld(_durable, Counting);
        if (held <= (long)Committed)
        {
            return false;
        }

        Committed = (ulong)held;
        return true;
    }

    /// <summary>Others decide from now on, also about what is under way.</summary>
    /// <param name="configuration">Who.</param>
    public void Reconfigure(VolumeConfiguration configuration)
    {
        Configuration = configuration;
        LeaseUntil = configuration.HighestHeld(_grantedUntil, configuration.Members);
    }

    /// <summary>Notes that a flush through a sequence is on its way to a replica.</summary>
    /// <param name="place">Its place.</param>
    /// <param name="through">The sequence.</param>
    /// <returns>Whether it has to be sent: not if one through as much was.</returns>
    public bool MarkFlush(int place, ulong through)
    {
        bool isNew = through > _replicas[place].FlushSent;
        _replicas[place].FlushSent = isNew ? through : _replicas[place].FlushSent;
        return isNew;
    }

    /// <summary>Takes over a grant.</summary>
    /// <param name="place">Who granted.</param>
    /// <param name="until">Until when, in ticks of the primary's clock.</param>
    public void Grant(int place, long until)
    {
        if (until > _grantedUntil[place])
        {
            _grantedUntil[place] = until;
            LeaseUntil = Configuration.HighestHeld(_grantedUntil, Configuration.Members);
        }
    }

    /// <summary>Gives up all grants at once: nothing may be read any more.</summary>
    public void EndLease()
    {
        Array.Fill(_grantedUntil, long.MinValue);
        LeaseUntil = long.MinValue;
    }
}

/// <summary>One replica, seen from the primary.</summary>
public struct ReplicaView
{
    /// <summary>Where it stands.</summary>
    public ReplicaStage Stage;

    /// <summary>A: it has applied every operation up to this.</summary>
    public ulong Applied;

    /// <summary>D: every operation up to this is on its stable media.</summary>
    public ulong Durable;

    /// <summary>It was asked to flush through this.</summary>
    public ulong FlushSent;
}

/// <summary>What of the window a replica alone has not answered: a write quorum has all of it.</summary>
internal struct ReplicaLag
{
    /// <summary>Bytes of payload.</summary>
    public long Bytes;

    /// <summary>Operations.</summary>
    public int Operations;

    /// <summary>An operation has its quorum, but not this replica's answer.</summary>
    /// <param name="bytes">Its payload.</param>
    public void Add(int bytes)
    {
        Bytes += bytes;
        Operations++;
    }

    /// <summary>The answer has come.</summary>
    /// <param name="bytes">The operation's payload.</param>
    public void Remove(int bytes)
    {
        Bytes -= bytes;
        Operations--;
    }
}

using Ublk.Replication.State;
using Ublk.Wire.Ids;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Primary;

/// <summary>
/// Who decides, who is in which place, and how large the volume is; and the way from one configuration to the
/// next (replication design, rule 18). The next one is in force once it is durable on W of everybody who
/// decided before and of everybody who will, and on all who follow the stream.
/// </summary>
internal sealed class Membership
{
    private readonly PrimaryOptions _options;
    private readonly IPrimaryEffects _effects;
    private readonly ReplicaMember?[] _members = new ReplicaMember?[ReplicaMask.Places];
    private ReplicaMask _confirmed;
    private VolumeConfiguration? _next;
    private long _nextSizeBytes;

    /// <summary>Begins with the attachment's configuration.</summary>
    /// <param name="options">The attachment.</param>
    /// <param name="effects">Sends messages.</param>
    public Membership(PrimaryOptions options, IPrimaryEffects effects)
    {
        _options = options;
        _effects = effects;
        Current = options.Configuration;
        SizeBytes = options.SizeBytes;
        for (int place = 0; place < options.Members.Count; place++)
        {
            _members[place] = options.Members[place];
        }
    }

    /// <summary>The configuration in force.</summary>
    public VolumeConfiguration Current { get; private set; }

    /// <summary>The size in force.</summary>
    public long SizeBytes { get; private set; }

    /// <summary>Number of the newest configuration, in force or not: what promises name.</summary>
    public ConfigurationNumber Newest => new((_next ?? Current).Number);

    /// <summary>Whether the newest one is not in force yet.</summary>
    public bool IsChanging => _next is not null;

    /// <summary>
    /// Everything up to it must be durable on W of both sets before the old one can be left; 0: no such.
    /// </summary>
    public ulong SettlesAt { get; set; }

    /// <summary>Who is in a place; null for nobody.</summary>
    /// <param name="place">The place.</param>
    public ReplicaMember? this[int place] => _members[place];

    /// <summary>Whether a replica decides, or is to.</summary>
    /// <param name="place">Its place.</param>
    public bool Decides(int place) => Current.Members.Has(place) || (_next?.Members.Has(place) ?? false);

    /// <summary>
    /// Whether all who decide are known by name. Where replicas are named by their files alone, one that is
    /// away is not; then nobody is told who decides.
    /// </summary>
    public bool IsNamed
    {
        get
        {
            bool isNamed = true;
            foreach (int place in (_next ?? Current).Members)
            {
                isNamed &= _members[place] is not null;
            }

            return isNamed;
        }
    }

    /// <summary>A replica gets a place: it learns what the volume holds, and decides nothing yet.</summary>
    /// <param name="place">A free place, or that of one whose disk was lost.</param>
    /// <param name="member">Who.</param>
    public void Add(int place, ReplicaMember member)
    {
        _confirmed = _members[place] == member ? _confirmed : _confirmed.Without(place);
        _members[place] = member;
    }

    /// <summary>Whether a replica that has recorded a configuration has to be told the newest one.</summary>
    /// <param name="number">What it has recorded.</param>
    public bool IsOutdated(ulong number) => number < Newest.Value && IsNamed;

    /// <summary>The next configuration is to come into force.</summary>
    /// <param name="next">Above the newest one; all of its members have places.</param>
    /// <param name="sizeBytes">Not smaller than before.</param>
    public void Begin(VolumeConfiguration next, long sizeBytes)
    {
        if (IsChanging || next.Number <= Current.Number || sizeBytes < SizeBytes)
        {
            throw new InvalidOperationException(
                $"configuration {next.Number} of {sizeBytes} bytes cannot follow {Newest} of {SizeBytes}");
        }

        _next = next;
        _nextSizeBytes = sizeBytes;
        _confirmed = default;
    }

    /// <summary>Tells a replica the newest configuration, unless it is known to have it.</summary>
    /// <param name="place">Its place.</param>
    public void Tell(int place)
    {
        if (_confirmed.Has(place) || !IsNamed)
        {
            return;
        }

        VolumeConfiguration newest = _next ?? Current;
        bool isJoint = newest.Next is not null;
        ReplicaGroup last = newest.Next ?? newest.Group;
        _effects.Send(place, new Configure
        {
            Epoch = _options.Epoch,
            Number = Newest,
            Stage = isJoint ? ConfigurationKind.Joint : ConfigurationKind.New,
            SizeBytes = IsChanging ? _nextSizeBytes : SizeBytes,
            OldWriteQuorum = isJoint ? newest.Group.Rule.WriteQuorum : 0,
            OldReplicas = new MessageList<ReplicaMember>(isJoint ? MembersOf(newest.Group) : []),
            NewWriteQuorum = last.Rule.WriteQuorum,
            NewReplicas = new MessageList<ReplicaMember>(MembersOf(last)),
        });
    }

    /// <summary>A replica has the newest configuration durably.</summary>
    /// <param name="place">Its place.</param>
    public void Confirm(int place) => _confirmed = _confirmed.With(place);

    /// <summary>Puts the next configuration into force, if enough have it.</summary>
    /// <param name="volume">What serves.</param>
    /// <returns>Whether it is in force now, and was not before.</returns>
    public bool TryFinish(VolumeMachine volume)
    {
        bool isLeaving = Current.Next is not null;
        if (_next is not { } next || isLeaving && !IsSettled(volume) ||
            !IsDurable(next, volume.Replicas.InStream) && !Mistakes.Make(Mistake.JointNotDurable))
        {
            return false;
        }

        ReplicaMask gone = Current.Members.Outside(next.Members);
        Current = next;
        SizeBytes = _nextSizeBytes;
        _next = null;
        SettlesAt = next.Next is null ? 0 : volume.Acknowledged;
        foreach (int place in gone)
        {
            _members[place] = null;
            _effects.Close(place, CloseReason.WrongConfiguration, "it is no replica of the volume any more");
        }

        return true;
    }

    /// <summary>Whether W of the new set hold all that the old set of a joint configuration does.</summary>
    /// <param name="volume">What serves.</param>
    public bool IsSettled(VolumeMachine volume) =>
        volume.Replicas.HeldDurable >= (long)SettlesAt || Mistakes.Make(Mistake.JointLeftUnsettled);

    private bool IsDurable(VolumeConfiguration next, ReplicaMask inStream) =>
        Current.HasWriteQuorum(_confirmed) && next.HasWriteQuorum(_confirmed) && _confirmed.HasAll(inStream);

    private ReplicaMember[] MembersOf(ReplicaGroup group)
    {
        var members = new List<ReplicaMember>();
        foreach (int place in group.Members)
        {
            members.Add(_members[place] ??
                throw new InvalidOperationException($"nobody is in place {place} of the configuration"));
        }

        return [.. members];
    }
}

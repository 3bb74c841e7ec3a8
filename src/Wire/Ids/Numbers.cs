namespace Ublk.Wire.Ids;

/// <summary>
/// Number of an attachment of a volume, strictly increasing, given out by the cluster metadata;
/// 1 to 2^63 − 1, 0 is none.
/// </summary>
/// <param name="Value">The number.</param>
public readonly record struct Epoch(ulong Value) : IComparable<Epoch>
{
    /// <summary>Before the first attachment.</summary>
    public static Epoch None => default;

    /// <inheritdoc/>
    public int CompareTo(Epoch other) => Value.CompareTo(other.Value);

    /// <summary>The number.</summary>
    public override string ToString() => Value.ToString();

    /// <summary>Whether the left one came first.</summary>
    public static bool operator <(Epoch left, Epoch right) => left.Value < right.Value;

    /// <summary>Whether the left one came later.</summary>
    public static bool operator >(Epoch left, Epoch right) => left.Value > right.Value;

    /// <summary>Whether the left one did not come later.</summary>
    public static bool operator <=(Epoch left, Epoch right) => left.Value <= right.Value;

    /// <summary>Whether the left one did not come first.</summary>
    public static bool operator >=(Epoch left, Epoch right) => left.Value >= right.Value;
}

/// <summary>
/// Number of a write, discard or write-zeroes of a volume: contiguous within an epoch, never used twice,
/// rising across epochs; 1 to 2^63 − 1, 0 is before the first.
/// </summary>
/// <param name="Value">The number.</param>
public readonly record struct Sequence(ulong Value) : IComparable<Sequence>
{
    /// <summary>Before the first operation.</summary>
    public static Sequence None => default;

    /// <summary>The number after this one.</summary>
    public Sequence Next => new(Value + 1);

    /// <inheritdoc/>
    public int CompareTo(Sequence other) => Value.CompareTo(other.Value);

    /// <summary>The number.</summary>
    public override string ToString() => Value.ToString();

    /// <summary>Whether the left one comes first.</summary>
    public static bool operator <(Sequence left, Sequence right) => left.Value < right.Value;

    /// <summary>Whether the left one comes later.</summary>
    public static bool operator >(Sequence left, Sequence right) => left.Value > right.Value;

    /// <summary>Whether the left one does not come later.</summary>
    public static bool operator <=(Sequence left, Sequence right) => left.Value <= right.Value;

    /// <summary>Whether the left one does not come first.</summary>
    public static bool operator >=(Sequence left, Sequence right) => left.Value >= right.Value;
}

/// <summary>
/// Number of a view: which replicas count, within an epoch. Rises whenever one counts no
/// more; 1 to 2^63 − 1, 0 is before the first operation.
/// </summary>
/// <param name="Value">The number.</param>
public readonly record struct View(ulong Value)
{
    /// <summary>The number.</summary>
    public override string ToString() => Value.ToString();
}

/// <summary>
/// Number of a configuration of a volume (its replica set, its quorum and its size), strictly increasing,
/// given out by the cluster metadata; 1 to 2^63 − 1, 0 is none.
/// </summary>
/// <param name="Value">The number.</param>
public readonly record struct ConfigurationNumber(ulong Value) : IComparable<ConfigurationNumber>
{
    /// <summary>Before the first configuration.</summary>
    public static ConfigurationNumber None => default;

    /// <inheritdoc/>
    public int CompareTo(ConfigurationNumber other) => Value.CompareTo(other.Value);

    /// <summary>The number.</summary>
    public override string ToString() => Value.ToString();

    /// <summary>Whether the left one is older.</summary>
    public static bool operator <(ConfigurationNumber left, ConfigurationNumber right) =>
        left.Value < right.Value;

    /// <summary>Whether the left one is newer.</summary>
    public static bool operator >(ConfigurationNumber left, ConfigurationNumber right) =>
        left.Value > right.Value;

    /// <summary>Whether the left one is not newer.</summary>
    public static bool operator <=(ConfigurationNumber left, ConfigurationNumber right) =>
        left.Value <= right.Value;

    /// <summary>Whether the left one is not older.</summary>
    public static bool operator >=(ConfigurationNumber left, ConfigurationNumber right) =>
        left.Value >= right.Value;
}

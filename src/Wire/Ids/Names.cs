namespace Ublk.Wire.Ids;

/// <summary>Names a cluster: 128 random bits, chosen when it is made. All zero is none.</summary>
/// <param name="Value">The bits; the first byte on the wire is the highest.</param>
public readonly record struct ClusterId(UInt128 Value)
{
    /// <summary>32 hexadecimal digits.</summary>
    public override string ToString() => Value.ToString("x32");
}

/// <summary>
/// Names a volume: 128 random bits, chosen when it is made, so that a metadata store that lost its past
/// cannot give out a name a second time. All zero is none.
/// </summary>
/// <param name="Value">The bits; the first byte on the wire is the highest.</param>
public readonly record struct VolumeId(UInt128 Value)
{
    /// <summary>32 hexadecimal digits.</summary>
    public override string ToString() => Value.ToString("x32");
}

/// <summary>
/// One life of a replica's store: 128 random bits, new at every format, so that an empty or replaced disk
/// never poses as what it was. All zero is none.
/// </summary>
/// <param name="Value">The bits; the first byte on the wire is the highest.</param>
public readonly record struct Incarnation(UInt128 Value)
{
    /// <summary>32 hexadecimal digits.</summary>
    public override string ToString() => Value.ToString("x32");
}

/// <summary>Number of a node, given out by the cluster metadata; 1 to 2^32 − 1, 0 is none.</summary>
/// <param name="Value">The number.</param>
public readonly record struct NodeId(uint Value)
{
    /// <summary>The number.</summary>
    public override string ToString() => Value.ToString();
}

/// <summary>
/// Number of a replica within its volume, never given out twice there; 1 to 2^32 − 1, 0 is none.
/// </summary>
/// <param name="Value">The number.</param>
public readonly record struct ReplicaId(uint Value)
{
    /// <summary>The number.</summary>
    public override string ToString() => Value.ToString();
}

/// <summary>Who writes a volume: one life of a frontend's process on a node.</summary>
/// <param name="Node">The node; 0 for nobody.</param>
/// <param name="Nonce">Random, new with every start of the process; 0 to 2^63 − 1.</param>
public readonly record struct Writer(NodeId Node, ulong Nonce)
{
    /// <summary>Node and nonce, as in 3/00c0ffee00c0ffee.</summary>
    public override string ToString() => $"{Node}/{Nonce:x16}";
}

/// <summary>Ties an answer to its question; unique among what the asker has under way.</summary>
/// <param name="Value">0 to 2^32 − 1, chosen by the asker.</param>
public readonly record struct RequestId(uint Value)
{
    /// <summary>The number.</summary>
    public override string ToString() => Value.ToString();
}

/// <summary>A 128-bit digest of bytes; which one is said where it is computed.</summary>
/// <param name="Value">The digest; the first byte on the wire is the highest.</param>
public readonly record struct Digest(UInt128 Value)
{
    /// <summary>Bytes of a digest on the wire.</summary>
    public const int SizeBytes = 16;

    /// <summary>32 hexadecimal digits.</summary>
    public override string ToString() => Value.ToString("x32");
}

using Ublk.Uring;
using Ublk.Wire.Messages;

namespace Ublk.Replication.Runtime;

/// <summary>The way to a place where nobody is, or nobody knows where.</summary>
internal sealed class NoWay : IReplicaWay
{
    public static readonly NoWay Instance = new();

    public bool IsOpen => false;

    public bool CanOpen => false;

    public void Open() => throw new InvalidOperationException("nobody is in this place");

    public void Send<T>(in T message) where T : struct, IMessage<T>, allows ref struct => Open();

    public void Send<T>(in T message, in IoBuffer payload)
        where T : struct, IMessage<T>, allows ref struct => Open();

    public void Close(CloseReason reason, string text)
    {
    }

    public bool TryDeliver(int place, WriterDriver writer) => false;
}

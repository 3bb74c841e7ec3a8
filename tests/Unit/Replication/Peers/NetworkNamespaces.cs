using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Connections;
using Xunit;

namespace Ublk.Tests.Unit.Replication.Peers;

/// <summary>
/// A host, a relay and some peers, each in a network namespace of its own: a pair of interfaces joins the
/// relay with each of the others, and there is no other way. Needs root.
/// </summary>
internal sealed class NetworkNamespaces : IDisposable
{
    private static int s_count;

    private readonly string _prefix =
        $"qublk-{Environment.ProcessId}-{Interlocked.Increment(ref s_count)}";

    private readonly List<string> _made = [];

    public NetworkNamespaces(int peers)
    {
        try
        {
            Relay = Make("relay");
            Host = Make("host");
            Join(Host, "to0", 0);
            for (int peer = 1; peer <= peers; peer++)
            {
                NamespaceThread node = Make($"peer{peer}");
                Join(node, $"to{peer}", peer);
                Peers.Add(node);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public NamespaceThread Relay { get; }

    public NamespaceThread Host { get; }

    public List<NamespaceThread> Peers { get; } = [];

    /// <summary>Address of a node: 0 for the host.</summary>
    public static IPAddress NodeAddress(int node) => new([10, 99, (byte)node, 2]);

    /// <summary>Address of the relay on the wire to a node.</summary>
    public static IPAddress RelayAddress(int node) => new([10, 99, (byte)node, 1]);

    /// <summary>Pulls the plug of a node, or puts it in again.</summary>
    public void Plug(int node, bool isIn) =>
        Ip("-n", Relay.Name, "link", "set", "dev", $"to{node}", isIn ? "up" : "down");

    public void Dispose()
    {
        Relay?.Dispose();
        Host?.Dispose();
        Peers.ForEach(peer => peer.Dispose());
        _made.ForEach(name => Ip("netns", "del", name));
    }

    private NamespaceThread Make(string name)
    {
        string full = $"{_prefix}-{name}";
        Ip("netns", "add", full);
        _made.Add(full);
        Ip("-n", full, "link", "set", "dev", "lo", "up");
        return new NamespaceThread(full);
    }

    private void Join(NamespaceThread node, string device, int number)
    {
        Ip(
            "-n", Relay.Name, "link", "add", device, "type", "veth", "peer", "name", "wire", "netns",
            node.Name);
        Ip("-n", Relay.Name, "addr", "add", $"{RelayAddress(number)}/30", "dev", device);
        Ip("-n", node.Name, "addr", "add", $"{NodeAddress(number)}/30", "dev", "wire");
        Ip("-n", Relay.Name, "link", "set", "dev", device, "up");
        Ip("-n", node.Name, "link", "set", "dev", "wire", "up");
    }

    private static void Ip(params string[] arguments)
    {
        using var ip = Process.Start(new ProcessStartInfo("ip", arguments)
        {
            RedirectStandardError = true, UseShellExecute = false,
        })!;
        string error = ip.StandardError.ReadToEnd();
        ip.WaitForExit();
        Assert.True(ip.ExitCode == 0, $"ip {string.Join(' ', arguments)}: {error}");
    }
}

/// <summary>
/// A thread of a network namespace: sockets that it makes, and what those accept, belong there.
/// </summary>
internal sealed class NamespaceThread : IDisposable
{
    private const int CloneNewNet = 0x40000000;

    private readonly BlockingCollection<Action> _work = [];
    private readonly Thread _thread;

    public NamespaceThread(string name)
    {
        Name = name;
        _thread = new Thread(Run) { IsBackground = true };
        _thread.Start();
        Assert.Equal(0, Invoke(Enter));
    }

    public string Name { get; }

    /// <summary>Does something in the namespace; not for long.</summary>
    public T Invoke<T>(Func<T> work)
    {
        using var done = new ManualResetEventSlim();
        T result = default!;
        Exception? failure = null;
        _work.Add(() =>
        {
            try
            {
                result = work();
            }
            catch (Exception exception)
            {
                failure = exception;
            }

            done.Set();
        });
        done.Wait();
        return failure is null ? result : throw new IOException(failure.Message, failure);
    }

    public void Dispose() => _work.CompleteAdding();

    private int Enter()
    {
        int file = Open($"/run/netns/{Name}", 0); // Not seekable, as files of the runtime are.
        int result = SetNamespace(file, CloneNewNet);
        return Close(file) | result;
    }

    private void Run()
    {
        foreach (Action work in _work.GetConsumingEnumerable())
        {
            work();
        }

        _work.Dispose();
    }

    [DllImport("libc", EntryPoint = "open", CharSet = CharSet.Ansi, BestFitMapping = false)]
    private static extern int Open([MarshalAs(UnmanagedType.LPStr)] string path, int flags);

    [DllImport("libc", EntryPoint = "close")]
    private static extern int Close(int file);

    [DllImport("libc", EntryPoint = "setns")]
    private static extern int SetNamespace(int file, int kind);
}

/// <summary>Connects from a namespace; the socket is made within the call.</summary>
internal sealed class NamespaceFactory(NamespaceThread thread, IConnectionFactory inner) : IConnectionFactory
{
    public async ValueTask<ConnectionContext> ConnectAsync(
        EndPoint endpoint, CancellationToken cancellationToken = default) =>
        await thread.Invoke(() => inner.ConnectAsync(endpoint, cancellationToken).AsTask());
}
